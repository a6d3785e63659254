"""Published weights: the head cut down by WordNet id, and what is refused. The libraries' files are fabricated.

Belongs here: models/pretrained.py. Does not belong: weights from the user's own files (test_checkpoint.py).
"""

from __future__ import annotations

import pytest
import torch
import torchvision

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.names import class_folders, class_names
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.models.checkpoint import load_classifier
from dd_assets.models.pretrained import import_published

IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
V1 = "torchvision:ResNet18_Weights.IMAGENET1K_V1"


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A 1000-way ResNet-18 whose state torchvision hands out in place of the published file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None).eval()
    monkeypatch.setattr(
        "torchvision.models._api.WeightsEnum.get_state_dict", lambda self, **options: dict(model.state_dict())
    )
    return model


def _imported(weights: str = V1, **changes):
    given = {
        "architecture": "resnet18",
        "classes": class_names("imagenette"),
        "data": "imagenette",
        "channels": 3,
        "size": 64,
        "normalisation": IMAGENET,
    } | changes
    return import_published(weights, **given)


def test_the_head_keeps_the_outputs_of_the_classes(whole: torch.nn.Module) -> None:
    state, metadata = _imported()
    facts = {"architecture": "resnet18", "classes": class_names("imagenette"), "channels": 3, "size": 64}
    part = load_classifier(state, facts)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    order = list(class_folders("imagenet1k").values())
    rows = [order.index(folder) for folder in class_folders("imagenette").values()]
    # tench, the first class, is output 0; English springer, the second, is output 217 (n02102040).
    assert rows[:2] == [0, 217]
    with torch.no_grad():
        assert torch.allclose(part(images), whole(images)[:, rows], atol=1e-6)
    assert metadata["source"] == f"{V1}, 10 of 1000 rows"


def test_rows_follow_the_settings_own_order(whole: torch.nn.Module) -> None:
    backwards = tuple(reversed(class_names("imagenette")))
    state, _ = _imported(classes=backwards)
    forwards, _ = _imported()
    assert torch.equal(state["fc.weight"], forwards["fc.weight"].flip(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 32}, "trained on large colour images; these have 32 px"),
        ({"channels": 1}, "1 channels"),
        ({"architecture": "resnet50"}, "is not for resnet50"),
        ({"classes": ("tench", "unicorn")}, "class 'unicorn' is not one of ImageNet-1K's"),
        ({"normalisation": Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3)}, "was trained with mean"),
    ],
)
def test_refusals(whole: torch.nn.Module, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _imported(**changes)


def test_unknown_weights_are_named() -> None:
    with pytest.raises(UnknownNameError, match=r"torchvision has no weights 'ResNet18_Weights\.V9'"):
        _imported("torchvision:ResNet18_Weights.V9")
    with pytest.raises(UnknownNameError, match="timm has no model 'resnet18a'"):
        _imported("timm:resnet18a")


def test_weights_that_cannot_be_fetched_say_where_to_put_them(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def away(self, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", away)
    with pytest.raises(InputError, match=r"put resnet18-f37072fd\.pth into .*checkpoints"):
        _imported()


def test_timm_weights_of_the_same_layout_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("resnet18", pretrained=False).eval()
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: model)
    model.pretrained_cfg = {"mean": IMAGENET.mean, "std": IMAGENET.std}
    state, _ = _imported("timm:resnet18.a1_in1k")
    facts = {"architecture": "resnet18", "classes": class_names("imagenette"), "channels": 3, "size": 64}
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(load_classifier(state, facts)(images)[:, 0], model(images)[:, 0], atol=1e-6)
