"""A teacher read from the store is each caller's own; one from published weights answers for the setting's classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner

from dd_assets.cli import main
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import TeacherChoice
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.models.architectures import build_model
from dd_assets.models.checkpoint import to_safetensors
from dd_assets.models.pixels import normalised
from dd_assets.models.registry import TeacherRecipe, architecture
from dd_assets.models.surrogates import SurrogateRecipe
from dd_assets.planning.checkpoints import StoreCheckpoints, area_of
from dd_assets.planning.engine import Engine, Work
from dd_assets.planning.unit import Manifest, Product, Unit
from dd_assets.units import dataset, teacher, training
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.models.published import in_hub, network


def test_what_one_computation_does_to_its_teacher_reaches_no_other(store: ArtefactStore) -> None:
    # Found by killing runs at random: label tables put the cached teacher into channels_last, and an RDED selection
    # computed later in the same process got scores that differed in their last bits.
    network = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=0)
    metadata = {
        "architecture": "convnet2_w64",
        "classes": list("0123456789"),
        "mean": [0.3],
        "std": [0.4],
        "channels": 1,
        "size": 8,
    }
    unit = Unit(name="teacher", version=1, parameters={}, inputs={})
    product = Product(content="c", payloads={teacher.CHECKPOINT: to_safetensors(network.state_dict(), metadata)})
    made = store.commit(unit, product, {})
    reader = Unit(name="labels", version=1, parameters={}, inputs={"teacher": "c"}, sources={"teacher": unit.digest})
    work = Work(store=store, raw=RawData(), device="cpu", unit=reader)
    assert made.content == "c"

    first = teacher.load(work)
    first.to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        for weight in first.parameters():
            weight.zero_()
    second = teacher.load(work)
    assert not second.training
    assert all(weight.is_contiguous() for weight in second.parameters())
    assert any(weight.abs().sum() > 0 for weight in second.parameters())


def test_published_weights_teach_the_settings_own_classes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: ArtefactStore
) -> None:
    weights, whole = torchvision.models.ResNet18_Weights.IMAGENET1K_V1, network("resnet18")
    in_hub(monkeypatch, tmp_path, weights, whole.state_dict())
    chosen = replace(
        CATALOGUE["imagenette"],
        name="own",
        data="own",
        size=72,
        classes=("a dog", "a fish"),
        options={"folders": {"a fish": "n01440764", "a dog": "n02102040"}},
        teacher=TeacherChoice(
            architecture="resnet18", recipe=TeacherRecipe(epochs=1), weights=f"torchvision:{weights!r}"
        ),
    )
    images = np.random.Generator(np.random.Philox(key=0)).integers(0, 256, (12, 72, 72, 3), dtype=np.uint8)
    with torch.no_grad():
        # English springer is output 217, tench output 0.
        logits = whole(normalised(images, chosen.normalisation, "cpu"))[:, [217, 0]]
    split = ImageArrays(images, logits.argmax(dim=1).numpy())

    class Raw(RawData):
        def load(self, name: str, expected: str | None = None) -> tuple[ImageArrays, ImageArrays]:
            return split, split

    monkeypatch.setattr("dd_assets.datasets.registry.setting", lambda name: chosen)
    dataset = store.commit(
        Unit(name="dataset", version=1, parameters={}, inputs={}), Product(content="d", payloads={}), {}
    )
    unit = teacher.plan(chosen, dataset, Raw(), {})
    made = teacher.compute(unit, Work(store=store, raw=Raw(), device="cpu", unit=unit))
    # With the two outputs in ascending order of their ids, every answer would be wrong.
    assert made.summary["test_accuracy"] == 1.0
    assert made.summary["source"] == "torchvision:ResNet18_Weights.IMAGENET1K_V1, 2 of 1000 rows"
    other = replace(chosen, teacher=replace(chosen.teacher, weights="timm:resnet18.a1_in1k"))
    assert teacher.plan(other, dataset, Raw(), {}).digest != unit.digest


def test_a_teacher_below_its_floor_is_trained_already_under_a_lower_one(
    monkeypatch: pytest.MonkeyPatch, store: ArtefactStore
) -> None:
    """Mixed precision, whose weights lie in memory in another order than they are stored in."""
    digits = CATALOGUE["digits"]

    def planned(floor: float) -> Unit:
        recipe = replace(digits.teacher.recipe, epochs=2, precision="bf16", accuracy_floor=floor)
        chosen = replace(digits, name="small", teacher=replace(digits.teacher, recipe=recipe))
        monkeypatch.setitem(settings(), "small", chosen)
        (described,) = engine.run([dataset.plan(chosen, raw)])
        return teacher.plan(chosen, described, raw, {})

    raw = RawData()
    engine = Engine(store, raw, Compute(device="cpu"))
    strict = planned(0.999)
    (refused,) = engine.run([strict])
    (failed,) = [verdict for verdict in refused.verdicts if verdict.blocking and not verdict.passed]
    assert "train it for more epochs, or lower `accuracy_floor`" in failed.message
    monkeypatch.setattr("dd_assets.models.training._train_epoch", None)
    lenient = planned(0.2)
    assert lenient.digest != strict.digest
    (made,) = engine.run([lenient])
    made.require_usable()
    assert made.content == refused.content
    assert made.summary == refused.summary
    assert not store.list("work")
    # Not so where anything else differs.
    with pytest.raises(TypeError, match="not callable"):
        engine.run([replace(lenient, seed=7)])


def test_a_refused_teacher_that_is_discarded_is_trained_anew(
    monkeypatch: pytest.MonkeyPatch, store: ArtefactStore
) -> None:
    parameters = {"accuracy_floor": 0.9, "epochs": 3}
    unit = Unit(name="teacher", version=1, parameters=parameters, inputs={})
    lower, other = (replace(unit, parameters=given) for given in ({**parameters, "accuracy_floor": 0.1}, {"epochs": 3}))
    assert area_of(unit.recipe) == area_of(lower.recipe) != unit.digest
    assert area_of(other.recipe) == other.digest
    store.commit(unit, Product(content="c", payloads={}), {})
    area = StoreCheckpoints(store, area_of(unit.recipe))
    area.save({"weights": np.zeros(3)})
    monkeypatch.setenv("DD_STORE", store.root)
    assert CliRunner().invoke(main, ["discard", unit.digest]).exit_code == 0
    assert area.load() is None


def test_bf16_recipes_say_their_layout_and_others_keep_their_digests() -> None:
    """Of surrogates too: both are trained by the same loop."""
    for kind, more in ((TeacherRecipe, {}), (SurrogateRecipe, {"architecture": "convnet3_w128"})):
        assert kind(epochs=2, precision="bf16", **more).layout == {"layout": "channels_last"}
        assert kind(epochs=2, **more).layout == {}


def test_a_class_without_test_images_has_no_accuracy_and_is_not_the_worst() -> None:
    floor, worst = teacher._verdicts(0.6, [0.9, None, 0.2], 0.5, ["ant", "bee", "cat"], False)
    assert floor.passed
    assert (worst.passed, worst.message) == (False, "worst class 'cat': 20.00%")


def test_a_teacher_is_made_although_the_test_split_lacks_a_class(
    monkeypatch: pytest.MonkeyPatch, store: ArtefactStore
) -> None:
    digits = CATALOGUE["digits"]
    recipe = replace(digits.teacher.recipe, epochs=1, accuracy_floor=0.0)
    chosen = replace(digits, name="small", teacher=replace(digits.teacher, recipe=recipe))
    monkeypatch.setitem(settings(), "small", chosen)

    class Lacking(RawData):
        def load(self, name: str, expected: str | None = None) -> tuple[ImageArrays, ImageArrays]:
            train, test = super().load(name, expected)
            kept = test.labels != 1
            return train, ImageArrays(test.images[kept], test.labels[kept])

    raw = Lacking()
    (described,) = Engine(store, RawData(), Compute(device="cpu")).run([dataset.plan(chosen, RawData())])
    unit = teacher.plan(chosen, described, raw, {})
    made = teacher.compute(unit, Work(store=store, raw=raw, device="cpu", unit=unit))
    accuracies = made.summary["per_class_accuracy"]
    assert [index for index, share in enumerate(accuracies) if share is None] == [1]
    # NaN, which is no JSON, would be refused when the training is over.
    store.commit(unit, made, {})


def test_a_weights_file_that_is_not_there_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    choice = TeacherChoice(
        architecture="resnet18", recipe=TeacherRecipe(epochs=1, accuracy_floor=0.0), weights="absent.safetensors"
    )
    with pytest.raises(InputError, match=r"teacher file .*absent\.safetensors does not exist → check `weights`"):
        teacher.examine([choice], RawData(str(tmp_path)))
    published = replace(choice, weights="torchvision:ResNet18_Weights.IMAGENET1K_V1")
    teacher.examine([published, replace(choice, weights=None)], RawData(str(tmp_path)))
    with pytest.raises(UnknownNameError, match=r"torchvision has no weights 'ResNet18_Weights\.V9'"):
        teacher.examine([published, replace(choice, weights="torchvision:ResNet18_Weights.V9")], RawData())
    with pytest.raises(InputError, match="is not for resnet50"):
        teacher.examine([replace(published, architecture="resnet50")], RawData())
    with pytest.raises(UnknownNameError, match="timm has no weights 'resnet18a'"):
        teacher.examine([replace(choice, weights="timm:resnet18a")], RawData())


@pytest.mark.parametrize(("size", "stated"), [(32, {}), (63, {}), (64, {"form": "small"}), (65, {}), (224, {})])
def test_recipes_of_64_px_say_that_the_network_has_its_small_form(size: int, stated: dict[str, str]) -> None:
    """It was the large one; results of it are in stores, and those of other sizes keep their digests."""
    assert architecture("resnet18").stated_form(size) == stated
    assert architecture("convnet3_w128").stated_form(size) == {}
    chosen = replace(CATALOGUE["tiny_imagenet"], size=size)
    source = Manifest(
        recipe_digest="d", recipe={}, content="c", payloads={}, verdicts=(), summary={}, measurements={}, label=""
    )
    units = (
        teacher.plan(chosen, source, RawData(), {}),
        training.plan(chosen, "resnet18", chosen.protocol, 0, {"images": source, "dataset": source}, ""),
    )
    assert [unit.parameters.get("form") for unit in units] == [stated.get("form")] * 2
