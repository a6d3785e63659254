"""Studies as data: which score variants a table or figure consists of, RD3's and those made of several scores.

Belongs here: reading and checking the files beside this one, expanding one into rows; light, no torch.
Does not belong: from a row to units (planning/studies.py), tables (report/studies.py).

A file states axes (method, ipc, student) and variants, each a change of the protocol or, with `parameters`, of the
methods' own, so that other images are scored. Their product are the study's cells; `smaller` states a grid of its own
for a dataset that is not the paper's, with its number of cells. A study with `scores` has a second table
(report/study_scores.py), made of cells whose variants say which `factors` are on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.preset import changed
from dd_assets.evaluation.presets import PRESETS, apply, preset
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.methods.contract import with_overrides
from dd_assets.methods.registry import METHODS

FOLDER = Path(__file__).parent
FIELDS = (
    "title",
    "source",
    "table",
    "scores",
    "datasets",
    "method",
    "ipc",
    "student",
    "variants",
    "figures",
    "smaller",
)
VARIANT_FIELDS = ("label", "preset", "protocol", "parameters", "students", "published", "factors", "learning_rates")
GRID_FIELDS = ("cells", "method", "ipc", "student", "variants")
CHANGED = ("protocol", "parameters")
"""What a variant may change field by field."""
DRAWN = ("accuracy", "representativeness", "diversity", "seconds")
"""What figures may show over a field; all but the first of studies with the scores `priors`."""
OWN_METHOD = "{method}"
"""In a preset's name: the cell's own method, or the one it is a variant of."""
SCORES = ("robust", "attribution", "budget", "priors", "readings")
"""robust: DD-Ranking's scores, which also need students of the real data; attribution: Shapley shares of factors;
budget: what each variant's label bytes cost in accuracy against the first variant, pair by pair; priors: how
representative and varied each variant's images are and how long their sampling takes (DAP's figures); readings: how
well variants that read a paper's protocol differently fit its figures."""
OF_FACTORS = ("robust", "attribution")
"""Those that tell variants apart by their factors."""
FACTORS = ("soft labels", "augmentation")
"""What a variant can switch on or off."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of scoring: a label mode and a change of the setting's protocol."""

    name: str
    label: str = "soft"
    preset: str = "rd3"
    protocol: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the methods: these images are the study's own, not those of the method's asset."""
    students: tuple[str, ...] = ()
    """The only students it applies to; () stands for all."""
    published: Mapping[str, str] = field(default_factory=dict)
    """Columns label, loss and setting of its rows in report/published.csv; empty: not published as figures."""
    factors: frozenset[str] = frozenset()
    """Those of FACTORS that are on; read by studies with `scores` alone."""
    learning_rates: tuple[float, ...] = ()
    """Initial rates, ascending, of which the one with the best validation accuracy is taken; (): the protocol's own."""

    def states(self, name: str, value: str) -> bool:
        """Whether the variant, or any preset it may name, sets a field of the protocol to a value."""
        named = [entry.changes for key, entry in PRESETS.items() if key == self.preset]
        if OWN_METHOD in self.preset:
            head = self.preset.split(OWN_METHOD)[0]
            named = [entry.changes for key, entry in PRESETS.items() if key.startswith(head)]
        return any(stated.get(name) == value for stated in (self.protocol, *named))

    def protocol_of(self, base: Protocol, method: str, data: str, ipc: int) -> Protocol:
        """A setting's protocol under this variant; raises UnknownNameError for a method without the preset."""
        return changed(apply(base, self.preset_of(method), data, ipc), self.protocol)

    def preset_of(self, method: str) -> str:
        """The name of the protocol preset that a method's cells have."""
        known = METHODS().get(method)
        own = known.variant_of or method if known else method
        return self.preset.replace(OWN_METHOD, own)

    def left_out(self, method: str, data: str) -> str:
        """What a preset of somebody's recipe does not do that the recipe does, or ''."""
        entry = PRESETS.get(self.preset_of(method))
        return entry.left_out_on(data) if entry else ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is drawn over a field that variants change."""

    section: str
    """One of CHANGED."""
    key: str
    shows: tuple[str, ...] = ("accuracy",)
    """Of DRAWN, a chart each."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The axes of one dataset."""

    method: tuple[str, ...]
    ipc: tuple[int, ...]
    student: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyCell:
    """One number of a table: a method's images, scored in one way."""

    method: str
    ipc: int
    student: str
    variant: Variant

    @property
    def key(self) -> str:
        """Its rows' common beginning: the score asset whose variant it is, the variant, the label mode."""
        return f"{self.method}/score_{self.student}/{self.variant.name}/{self.variant.label}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One table or figure."""

    name: str
    title: str
    source: str
    """Which part of the paper, and what of it is a choice of this project."""
    table: int | None
    """Its number in report/published.csv."""
    scores: str
    """Which further table it has, of SCORES; '' for none."""
    datasets: tuple[str, ...]
    """The paper's; settings with that data have the paper's grid."""
    grid: Grid
    variants: Mapping[str, Variant]
    figures: Mapping[str, Figure]
    """By the label of the axis."""
    smaller: Mapping[str, Grid]
    """Setting to a grid of its own."""
    stated_cells: Mapping[str, int]
    """Setting to the number of cells that the file states for it."""

    def variant(self, name: str) -> Variant:
        """The variant of that name; raises UnknownNameError."""
        if name not in self.variants:
            raise UnknownNameError.of(f"variant of {self.name}", str(name), self.variants)
        return self.variants[name]

    def grid_of(self, chosen: Setting) -> Grid:
        """The axes in a setting: this file's for it, the paper's, or the paper's with the setting's students; of these
        the setting may state some otherwise."""
        if chosen.name in self.smaller:
            grid = self.smaller[chosen.name]
        elif chosen.data in self.datasets:
            grid = self.grid
        else:
            grid = replace(self.grid, student=chosen.students)
        return replace(grid, **chosen.studies.get(self.name, {}))

    def cells(self, chosen: Setting, ipc: int | None = None) -> list[StudyCell]:
        """The cells of a setting (of one IPC), in the order of the axes; IPC values that it lacks are left out."""
        grid = self.grid_of(chosen)
        return [
            StudyCell(method=method, ipc=value, student=student, variant=variant)
            for value in grid.ipc
            if value in chosen.ipc and ipc in (None, value)
            for method in grid.method
            for student in grid.student
            for variant in (self.variants[name] for name in grid.variants)
            if not variant.students or student in variant.students
        ]


@cache
def studies() -> dict[str, Study]:
    """Every shipped study by name; those that a number ends in the order of their numbers."""
    return {path.stem: read_study(path) for path in sorted(FOLDER.glob("*.yaml"), key=_place)}


def _place(path: Path) -> tuple[str, int]:
    """Name without its number, and the number."""
    head, _, number = path.stem.rpartition("_")
    return (head, int(number)) if number.isdigit() else (path.stem, 0)


def study(name: str) -> Study:
    """The study of that name; raises UnknownNameError."""
    if name not in studies():
        raise UnknownNameError.of("study", name, studies(), "`dd-assets studies` lists them")
    return studies()[name]


def read_study(path: Path) -> Study:
    """A study from its file; raises InputError or UnknownNameError naming file and field."""
    import yaml

    where = path.name
    try:
        stated = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())}", "mend the line named") from error
    try:
        return _study(where, path.stem, stated)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        problem = " ".join(f"{type(error).__name__} {error}".split())
        raise InputError(f"{where} is not a study: {problem[:300]}", "compare it with the files beside it") from error


def _study(where: str, name: str, stated: Any) -> Study:
    """A study from the values of its file; what they cannot be raises as it comes."""
    _known(where, stated, FIELDS)
    variants = {
        str(variant): _variant(f"{where}, variant {variant}", str(variant), own or {})
        for variant, own in stated["variants"].items()
    }
    grid = _grid(where, stated, {}, variants)
    smaller = stated.get("smaller", {})
    for data, own in smaller.items():
        _known(f"{where}, smaller, {data}", own, GRID_FIELDS)
    for variant, method in product(variants.values(), grid.method):
        if method in METHODS():
            own = METHODS()[method].recipe_for("default").parameters
            with_overrides(own, variant.parameters, f"{method} in {where}, variant {variant.name}")
    scores = _scores(where, stated, variants)
    return Study(
        name=name,
        title=stated["title"],
        source=stated["source"],
        table=stated.get("table"),
        scores=scores,
        datasets=tuple(stated["datasets"]),
        grid=grid,
        variants=variants,
        figures=_figures(where, stated.get("figures", {}), [name for name in grid.method if name in METHODS()], scores),
        smaller={data: _grid(f"{where}, smaller, {data}", own, stated, variants) for data, own in smaller.items()},
        stated_cells={data: own["cells"] for data, own in smaller.items()},
    )


def _scores(where: str, stated: Mapping[str, Any], variants: Mapping[str, Variant]) -> str:
    """The further table a study has; raises InputError where two of its variants have the same factors on."""
    name = str(stated.get("scores", ""))
    if name and name not in SCORES:
        raise UnknownNameError.of(f"scores of {where}", name, SCORES)
    if name in OF_FACTORS and len({entry.factors for entry in variants.values()}) < len(variants):
        raise InputError(f"{where}: two variants have the same factors on", "state `factors` for each")
    return name


def _known(where: str, stated: Any, names: Sequence[str]) -> None:
    if not isinstance(stated, dict):
        raise InputError(f"{where} must be a mapping", f"its fields: {', '.join(names)}")
    for name in stated:
        if name not in names:
            raise UnknownNameError.of(f"field of {where}", str(name), names)


def _grid(where: str, stated: Mapping[str, Any], base: Mapping[str, Any], variants: Mapping[str, Variant]) -> Grid:
    """Axes as stated, else the paper's."""
    axes = {name: tuple(stated.get(name, base.get(name, ()))) for name in ("method", "ipc", "student")}
    chosen = stated.get("variants", list(variants))
    names = tuple(variants) if isinstance(chosen, dict) else tuple(str(name) for name in chosen)
    for name in names:
        if name not in variants:
            raise UnknownNameError.of(f"variant of {where}", name, variants)
    empty = [name for name, values in axes.items() if not values]
    if empty:
        raise InputError(f"{where}: no {empty[0]}", "give a list of one or more")
    return Grid(variants=names, **axes)


def _figures(where: str, stated: Any, methods: Sequence[str], scores: str) -> dict[str, Figure]:
    """A figure is a path, or a list of one and what is drawn over it.

    Raises UnknownNameError for a field that the protocol, or every method, lacks, or for what cannot be drawn.
    """
    found = {}
    for name, given in stated.items():
        path, *shows = given if isinstance(given, list) else [given]
        section, _, key = str(path).partition(".")
        if section not in CHANGED:
            raise UnknownNameError.of(f"beginning of {where}, figure {name}", section, CHANGED)
        owners = (
            [Protocol]
            if section == "protocol"
            else [METHODS()[entry].recipe_for("default").parameters for entry in methods]
        )
        known = {item.name for owner in owners for item in fields(owner)}
        if key not in known:
            raise UnknownNameError.of(f"field of the {section} in {where}, figure {name}", key, known)
        drawable = DRAWN if scores == "priors" else DRAWN[:1]
        for shown in shows:
            if shown not in drawable:
                raise UnknownNameError.of(f"what {where}, figure {name} shows", str(shown), drawable)
        found[str(name)] = Figure(section=section, key=key, shows=tuple(shows) or DRAWN[:1])
    return found


def _variant(where: str, name: str, stated: Mapping[str, Any]) -> Variant:
    """A variant whose preset and protocol fields exist; raises UnknownNameError for others."""
    _known(where, stated, VARIANT_FIELDS)
    if "/" in name:
        raise InputError(f"{where}: a name with '/'", "it is part of a key; use '-'")
    made = Variant(
        name=name,
        label=stated.get("label", "soft"),
        preset=stated.get("preset", "rd3"),
        protocol=stated.get("protocol", {}),
        parameters=stated.get("parameters", {}),
        students=tuple(stated.get("students", ())),
        published=stated.get("published", {}),
        factors=frozenset(stated.get("factors", ())),
        learning_rates=tuple(sorted(float(rate) for rate in stated.get("learning_rates", ()))),
    )
    for factor in made.factors - set(FACTORS):
        raise UnknownNameError.of(f"factor of {where}", factor, FACTORS)
    if made.label not in ("soft", "hard"):
        raise UnknownNameError.of(f"label of {where}", made.label, ("soft", "hard"))
    if OWN_METHOD not in made.preset:
        base = apply(Protocol(views=VIEW_PRESETS["rd3"]), preset(made.preset).name, "", 1)
        changed(base, made.protocol).require_read()
    return made
