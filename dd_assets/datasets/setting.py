"""What a setting of the dataset axis consists of, as types.

Belongs here: the fields of a setting, the variant that recipes are chosen on; light, no torch. Does not belong: which
settings there are (registry.py, catalogue.py, user_settings.py).

A setting is data, resolution and backbone roles under one name; settings that share data share content digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from dd_assets.datasets.arrays import Normalisation
from dd_assets.diffusion.registry import Generators
from dd_assets.errors import UnknownNameError
from dd_assets.evaluation.protocol import LabelMode, Protocol
from dd_assets.models.registry import TeacherRecipe

DEFAULT_IPC = (1, 10, 50, 100)
IMAGENET_STATISTICS = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CIFAR10_STATISTICS = Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


@dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """The teacher's architecture, and either how it is trained or which file it comes from."""

    architecture: str
    recipe: TeacherRecipe
    """Training values; of an imported teacher only `accuracy_floor` is used."""
    seed: int = 0
    """Of initialisation and order; members of a committee may differ in nothing else."""
    name: str = ""
    """What recipes call this member of a committee; '' stands for the architecture."""
    weights: str | None = None
    """A .safetensors file, relative to DD_DATA_ROOT or absolute, or published weights: "torchvision:<enum>.<name>",
    "timm:<model>" (models/pretrained.py); None trains the teacher here."""

    @property
    def key(self) -> str:
        """The name under which a committee holds it."""
        return self.name or self.architecture

    def trained_like(self, other: TeacherChoice) -> bool:
        """Whether both learn by one recipe, whatever architecture and seed; a file's network has learnt enough."""
        return self.weights is not None or _training(self.recipe) == _training(other.recipe)


def _training(recipe: TeacherRecipe) -> TeacherRecipe:
    """What of a recipe changes the weights."""
    return replace(recipe, accuracy_floor=0.0, source="")


PriorSource = Literal["measured", "published", "equal"]
PRIOR_SOURCES = get_args(PriorSource)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One entry of the dataset axis."""

    name: str
    data: str
    """The dataset's name as method recipes know it (digits, cifar10…)."""
    reader: str
    """An entry of READERS in readers/."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The reader's own options (paths relative to DD_DATA_ROOT, column names…)."""
    classes: tuple[str, ...]
    size: int
    channels: int = 3
    normalisation: Normalisation = IMAGENET_STATISTICS
    hflip: bool = True
    """Whether a mirrored image keeps its class."""
    ipc: tuple[int, ...] = DEFAULT_IPC
    teacher: TeacherChoice
    committee: tuple[TeacherChoice, ...] = ()
    """Further teachers for methods that use several; one that equals the teacher is the same result, stored once."""
    priors: PriorSource = "measured"
    """How committee members are weighted: by students on a validation part of the training split, by CV-DD's
    published figures, or all alike."""
    generators: Generators = field(default_factory=Generators)
    """What the generation methods sample from."""
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method to parameters that this setting states in place of its recipe's, such as another pool."""
    studies: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    """Study to axes (method, ipc, student, variants) that this setting states in place of the study's own."""
    tune_of: str = ""
    """The setting whose training split this one divides into training and test (validation) images, or ''."""
    students: tuple[str, ...]
    labels: tuple[LabelMode, ...] = ("soft", "hard")
    trainings: int = 3
    """Students of a cell at least, one per draw first; 1 or 2 are exact, and verdicts between methods need five."""
    draws: int = 0
    """Image sets of a method whose draws differ; 0: as many as the method declares."""
    first_seed: int = 0
    """Of the students. One of the teacher's architecture and seed begins with the teacher's own initial weights."""
    protocol: Protocol

    def student(self, name: str) -> str:
        """The name if this setting scores that student; raises UnknownNameError."""
        if name not in self.students:
            raise UnknownNameError.of(f"student of {self.name}", name, self.students)
        return name

    def member(self, key: str) -> TeacherChoice:
        """The committee member of that name; raises UnknownNameError."""
        known = {choice.key: choice for choice in self.committee}
        if key not in known:
            raise UnknownNameError.of(f"committee member of {self.name}", key, known)
        return known[key]


TUNE = "_tune"
VALIDATION = 5
"""A tune variant tests on every fifth image of each class, in a seeded order."""


def tune_variant(base: Setting) -> Setting:
    """A setting for choosing recipes: `base`'s training split alone, a fifth of each class of it for testing.

    Its teachers are trained here, imported ones too: theirs have seen the whole training split.
    """

    def own(choice: TeacherChoice) -> TeacherChoice:
        floor = 0.9 * choice.recipe.accuracy_floor
        return replace(choice, weights=None, recipe=replace(choice.recipe, accuracy_floor=floor))

    return replace(
        base,
        name=f"{base.name}{TUNE}",
        tune_of=base.name,
        teacher=own(base.teacher),
        committee=tuple(own(choice) for choice in base.committee),
    )
