"""A setting so small that a whole graph of two methods is computed in seconds, with everything in files to edit.

Belongs here: the folder of images, the teacher's file, computing targets as assets do. Does not belong: assertions.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from dd_assets.datasets import registry
from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.setting import Setting, TeacherChoice
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.models.registry import TeacherRecipe
from dd_assets.planning import graph
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell
from dd_assets.planning.plan import Target, all_targets, input_target
from dd_assets.planning.unit import Reference, Unit, Verdict
from dd_assets.planning.verify import own_recipes
from dd_assets.units import kinds
from dd_resources.compute import Compute
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore, manifest_bytes, manifest_path

CLASSES = ("cat", "ant", "bee")
PER_CLASS = 4
WEIGHTS = "teacher.safetensors"
METHOD_NAMES = ("noise", "random")
NOUNS = ("synthetic_images", "soft_labels", "score_convnet2_w64", "accuracy")
Edit = Callable[..., None]
"""(method or None, **fields of the setting) puts it in place of the registered one."""


def setting() -> Setting:
    """Three classes of 8-pixel images, an imported teacher, two epochs of training."""
    return Setting(
        name="tiny",
        data="tiny",
        reader="folder",
        classes=CLASSES,
        size=8,
        normalisation=Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        ipc=(1, 2),
        teacher=TeacherChoice(
            architecture="convnet2_w64", recipe=TeacherRecipe(epochs=1, accuracy_floor=0.0), weights=WEIGHTS
        ),
        students=("convnet2_w64",),
        protocol=Protocol(views=VIEW_PRESETS["rd3"], epochs=2),
    )


def write_image(root: Path, split: str, name: str, number: int, value: int) -> None:
    """One image of a class: its colour says which."""
    path = root / "tiny" / split / name / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 10 * number, 255 - value)).save(file, "PNG")
    path.write_bytes(file.getvalue())


def write_weights(root: Path, seed: int) -> None:
    """An untrained teacher's file; another seed gives other bytes."""
    from dd_assets.models.architectures import build_model
    from dd_assets.models.checkpoint import to_safetensors

    chosen = setting()
    model = build_model("convnet2_w64", classes=3, channels=3, size=8, seed=seed)
    facts: dict[str, Any] = {"architecture": "convnet2_w64", "classes": list(chosen.classes), "channels": 3, "size": 8}
    facts |= {"mean": list(chosen.normalisation.mean), "std": list(chosen.normalisation.std)}
    (root / WEIGHTS).write_bytes(to_safetensors(model.state_dict(), facts))


def write_data(root: Path) -> None:
    """All that the setting reads."""
    root.mkdir(parents=True)
    for position, name in enumerate(CLASSES):
        for number in range(PER_CLASS):
            write_image(root, "train", name, number, 60 * position)
            write_image(root, "test", name, number, 60 * position + 30)
    write_weights(root, seed=0)


def in_chain(asset: str) -> bool:
    """Whether an asset lies between data and score of the two methods; others may come and go beside them."""
    method_name, _, noun = asset.partition("/")
    return asset in ("dataset", "teacher") or (method_name in METHOD_NAMES and noun in NOUNS)


@dataclass
class Tiny:
    """A store and the data it was made from; `computed` lists the units that `make` had to compute."""

    store: ArtefactStore
    data: Path
    computed: list[Unit] = field(default_factory=list)

    def targets(self) -> list[Target]:
        """The chain from data to score for two methods."""
        mine = [name for name, entry in registry.settings().items() if entry.data == "tiny"]
        return [target for target in all_targets() if target[1].split("|")[0] in mine and in_chain(target[0])]

    def make(self, targets: list[Target] | None = None, overrides: dict[str, Any] | None = None) -> list[str]:
        """Compute targets (all by default) and point references at them; kinds of the computed units, sorted."""
        engine = Engine(self.store, RawData(str(self.data)), Compute(device="cpu", workers=1))
        for asset, partition in targets or self.targets():
            stage, cell = graph.stages()[asset], Cell.of(partition, overrides)
            inputs = {name: self._reference(input_target(name, cell)) for name in stage.reads(cell)}
            self.store.write_reference(NAMESPACE, stage.resolve(cell, inputs, engine))
        self.computed = engine.tally.computed
        return sorted(unit.name for unit in self.computed)

    def _reference(self, target: Target) -> Reference:
        found = self.store.read_reference(NAMESPACE, *target)
        assert found is not None, target
        return found


def forget_graph() -> None:
    """Drop what was derived from the registries, after one of them was edited."""
    graph.stages.cache_clear()
    kinds.kinds.cache_clear()


def with_parameter(method: Method, **changes: Any) -> Method:
    """The method with other values in its default recipe."""
    recipe = method.recipes["default"]
    edited = dataclasses.replace(recipe, parameters=dataclasses.replace(recipe.parameters, **changes))
    return dataclasses.replace(method, recipes={**method.recipes, "default": edited})


def method(name: str) -> Method:
    """A method as registered now."""
    return METHODS()[name]


def spoil(tiny: Tiny, target: Target, *keys: str) -> list[str]:
    """Give units of an asset partition a failed verdict, as if they had been stored so; their recipes, 12 digits."""
    reference = tiny.store.read_reference(NAMESPACE, *target)
    assert reference is not None
    recipes = [own_recipes(tiny.store, reference)[key] for key in keys]
    verdict = Verdict(name="floor", passed=False, blocking=True, message="12 %, floor 90 %")
    for digest in recipes:
        manifest = tiny.store.lookup(digest)
        assert manifest is not None
        tiny.store.replace(manifest_path(digest), manifest_bytes(dataclasses.replace(manifest, verdicts=(verdict,))))
    return [digest[:12] for digest in recipes]
