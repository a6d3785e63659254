"""The `diversity` unit: one draw's images measured against the real training images of their classes.

Belongs here: planning it, what is compared with what, its verdicts. Does not belong: the measures
(evaluation/diversity.py, evaluation/distances.py), their relation to accuracy (report/diversity.py).

Every figure stands beside that of as many random real images per class, and that of the whole class. Those are
measured as an image set would be, save that the nearest training image of a real one is another one. The Fréchet and
the kernel distance are of a whole set from all training images, whose own is 0 and not stated; the random real images
are among those, as a selected set's are, and are at distance 0 from themselves in their representativeness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_assets import randomness
from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher, canonical_json
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import image_set, teacher
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation
from dd_assets.units.tables import write_columns

if TYPE_CHECKING:
    from dd_assets.datasets.arrays import ImageArrays
    from dd_assets.evaluation.distances import Normal
    from dd_assets.evaluation.diversity import Cloud, Nearest

CLASSES, NEAREST, PAIRS = "classes.parquet", "nearest.parquet", "nearest.png"
KINDS = ("set", "random", "class")
"""What a figure is of: the image set, as many random real images, all real images of the class."""
SAMPLE = 2000
"""Of a larger training split this many random images stand for all where nearest training images are sought: each is
compared with every other pixel by pixel."""
KERNEL_SAMPLE = 10_000
"""As many training images stand for all in the kernel distance."""
PAIRS_SHOWN = 4


def plan(setting: Setting, inputs: dict[str, Manifest], draw: int, label: str) -> Unit:
    """The unit of one draw; `inputs` holds dataset, teacher and images."""
    return Unit(
        name="diversity",
        version=kind_of("diversity").version,
        parameters={"normalisation": setting.normalisation, "classes": len(setting.classes)},
        inputs={name: manifest.content for name, manifest in inputs.items()},
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        seed=draw,
        setting=setting.name,
        label=label,
    )


@dataclass(frozen=True, kw_only=True)
class _Real:
    """What is measured once per dataset and teacher."""

    rows: tuple[np.ndarray, ...]
    """Training rows of each class."""
    clouds: tuple[Cloud, ...]
    features: np.ndarray
    """Of all training images, float64 (N, D)."""
    normal: Normal
    """Their mean and covariance."""
    sample: np.ndarray
    """Those of the rows that the kernel distance is measured against."""
    measures: dict[str, np.ndarray]
    """Of the whole class, float64 (classes,)."""


_REAL: dict[tuple[str, ...], _Real] = {}
"""The last one measured in this process: the cells of a setting share it."""


def _real(unit: Unit, work: Work, train: ImageArrays) -> _Real:
    key = (unit.inputs["dataset"], unit.inputs["teacher"], canonical_json(unit.parameters), work.device)
    if key not in _REAL:
        made = _measure_real(unit, work, train)
        _REAL.clear()
        _REAL[key] = made
    return _REAL[key]


def _measure_real(unit: Unit, work: Work, train: ImageArrays) -> _Real:
    import torch

    from dd_assets.evaluation.distances import Normal
    from dd_assets.evaluation.diversity import Cloud, nearest

    found = _features(unit, work, train.images)
    features = torch.from_numpy(found).to(work.device)
    rows = tuple(train.of_class(label) for label in range(unit.parameters["classes"]))
    clouds = tuple(Cloud.of(features[torch.from_numpy(chosen)]) for chosen in rows)
    sample = _sample(len(train), SAMPLE)
    images, labels = train.images[sample], train.labels[sample]
    off = nearest(images, labels, train.images, train.labels, work.device, own_rows=sample)
    measures = _by_class(clouds, [cloud.points for cloud in clouds], labels, off)
    return _Real(
        rows=rows,
        clouds=clouds,
        features=found,
        normal=Normal.of(found),
        sample=found[_sample(len(train), KERNEL_SAMPLE)],
        measures=measures,
    )


def _sample(count: int, most: int) -> np.ndarray:
    """Rows of a random sample, ascending; all of no more than `most`."""
    if count <= most:
        return np.arange(count)
    return np.sort(randomness.permutation(count, 0, "diversity", "sample")[:most])


def _features(unit: Unit, work: Work, images: np.ndarray) -> np.ndarray:
    from dd_assets.synthesis.outputs import features_of

    return features_of(teacher.load(work), images, typed_normalisation(unit.parameters["normalisation"]), work.device)


def _by_class(clouds: Any, features: Any, labels: np.ndarray, off: Nearest) -> dict[str, np.ndarray]:
    """Every measure of every class, float64 (classes,), NaN where it has none."""
    from dd_assets.evaluation.diversity import of_class

    found = [of_class(cloud, own) for cloud, own in zip(clouds, features, strict=True)]
    measures = {name: np.array([entry[name] for entry in found]) for name in found[0]}
    for name, values in (("nearest_in_class", off.in_class), ("nearest_overall", off.overall)):
        # A class with a single real image has no other to be near to.
        finite = np.where(np.isfinite(values), values, math.nan)
        chosen = [finite[labels == label] for label in range(len(found))]
        measures[name] = np.array([own.mean() if len(own) else math.nan for own in chosen])
    return measures


def compute(unit: Unit, work: Work) -> Product:
    """Measure the set, as many random real images, and (once per process) the whole classes."""
    import torch

    from dd_assets.evaluation.distances import MEASURES, teacher_distances
    from dd_assets.evaluation.diversity import means, nearest

    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    images, labels = image_set.load(work)
    real, classes = _real(unit, work, train), unit.parameters["classes"]
    points = _features(unit, work, images)
    features = torch.from_numpy(points).to(work.device)
    off = nearest(images, labels, train.images, train.labels, work.device)
    made = [features[torch.from_numpy(np.flatnonzero(labels == label))] for label in range(classes)]
    subset = _random_rows(unit, real, labels)
    measures = {
        "set": _by_class(real.clouds, made, labels, off),
        "random": _random_measures(work, train, real, subset),
        "class": real.measures,
    }
    apart = {
        "set": teacher_distances(points, real.normal, real.sample),
        "random": teacher_distances(real.features[np.concatenate(subset)], real.normal, real.sample),
        "class": dict.fromkeys(MEASURES, math.nan),
    }
    table = {f"{kind}/{name}": values for kind in KINDS for name, values in measures[kind].items()}
    found = {
        "label": labels,
        "in_class": off.in_class,
        "in_class_row": off.in_class_row,
        "overall": off.overall,
        "overall_row": off.overall_row,
    }
    hasher = ContentHasher("diversity")
    for name, values in {**table, **{f"nearest/{name}": values for name, values in found.items()}}.items():
        hasher.array(name, values)
    for kind in KINDS:
        hasher.array(f"{kind}/distances", np.array([apart[kind][name] for name in MEASURES]))
    whole = {kind: {name: np.array([value]) for name, value in apart[kind].items()} for kind in KINDS}
    summary = {kind: means({**measures[kind], **whole[kind]}) for kind in KINDS}
    copies = int((off.overall == 0).sum())
    return Product(
        content=hasher.hexdigest(),
        payloads={
            CLASSES: write_columns({"label": np.arange(classes), **table}),
            NEAREST: write_columns(found),
            PAIRS: _pairs(images, labels, train, off),
        },
        verdicts=_verdicts(summary, copies, len(images)),
        summary={**summary, "images": len(images), "copies": copies},
    )


def _random_rows(unit: Unit, real: _Real, labels: np.ndarray) -> list[np.ndarray]:
    """Training rows of as many random real images of each class as the set has; all of a smaller class."""
    counts = np.bincount(labels, minlength=len(real.rows))
    return [
        rows[randomness.permutation(len(rows), unit.seed or 0, "diversity", label)[:count]]
        for label, (rows, count) in enumerate(zip(real.rows, counts.tolist(), strict=True))
    ]


def _random_measures(
    work: Work, train: ImageArrays, real: _Real, subset: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The measures of these training rows of each class, as of a set of images."""
    import torch

    from dd_assets.evaluation.diversity import nearest

    chosen = np.concatenate(subset)
    own = train.labels[chosen]
    off = nearest(train.images[chosen], own, train.images, train.labels, work.device, own_rows=chosen)
    features = [torch.from_numpy(real.features[rows]).to(work.device) for rows in subset]
    return _by_class(real.clouds, features, own, off)


def _pairs(images: np.ndarray, labels: np.ndarray, train: ImageArrays, off: Nearest) -> bytes:
    """The images nearest to a training image of their class, each beside that image; a row per class, up to ten."""
    from dd_assets.report.pictures import contact_sheet

    shown, names = [], []
    for label in np.unique(labels)[:10]:
        own = np.flatnonzero(labels == label)
        for row in own[np.argsort(off.in_class[own], kind="stable")][:PAIRS_SHOWN]:
            shown += [images[row], train.images[off.in_class_row[row]]]
            names += [label, label]
    return contact_sheet(np.stack(shown), np.array(names))


def _verdicts(summary: dict[str, dict[str, float | None]], copies: int, count: int) -> tuple[Verdict, ...]:
    stated = {name: value for name, value in summary["set"].items() if value is not None}
    finite = bool(stated) and all(math.isfinite(value) for value in stated.values())
    return (
        Verdict(
            name="finite_measures",
            passed=finite,
            blocking=True,
            message=", ".join(f"{name} {value:.3g}" for name, value in stated.items()) or "no measure",
        ),
        Verdict(
            name="no_copies",
            passed=copies == 0,
            blocking=False,
            message=f"{copies} of {count} images are training images, pixel by pixel",
            figures={"copies": copies},
        ),
    )
