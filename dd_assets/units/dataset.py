"""The `dataset` unit: what a dataset setting contains, as the root of every lineage.

Belongs here: planning it and reading the data once. Does not belong: file layouts (datasets/readers).
"""

from __future__ import annotations

import sys

from dd_assets.datasets.setting import VALIDATION, Setting
from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.methods.contract import Facts
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units.kinds import kind_of
from dd_resources.raw_data import RawData, dataset_digest


def plan(setting: Setting, raw: RawData) -> Unit:
    """The unit for a setting; raises InputError if its source files are missing."""
    return Unit(
        name="dataset",
        version=kind_of("dataset").version,
        parameters={
            "reader": setting.reader,
            "options": dict(setting.options),
            "classes": setting.classes,
            "size": setting.size,
            "channels": setting.channels,
            "normalisation": setting.normalisation,
            **({"tune": VALIDATION} if setting.tune_of else {}),
        },
        inputs={"source": raw.fingerprint(setting)},
        setting=setting.name,
        label=f"dataset {setting.name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Read, check and describe the data; raises InputError for unreadable images or wrong class orders.

    Raises it too where the files are not those of the plan, whose fingerprint stands in the recipe.
    """
    from dd_assets.datasets.registry import setting
    from dd_assets.report.pictures import contact_sheet

    chosen = setting(unit.setting)
    train, test = work.raw.load(unit.setting)
    # After reading, so that files which changed meanwhile are found too.
    if work.raw.fingerprint(chosen) != unit.inputs["source"]:
        raise InputError(
            f"dataset {unit.setting}: its files changed after it was planned",
            "run the same command again once they are complete",
        )
    counts = [np.bincount(split.labels, minlength=len(chosen.classes)).tolist() for split in (train, test)]
    shown = np.concatenate([train.of_class(label)[:10] for label in range(min(10, len(chosen.classes)))])
    empty = [name for name, count in zip(chosen.classes, counts[0], strict=True) if not count]
    mean = train.images.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    std = train.images.std(axis=(0, 1, 2), dtype=np.float64) / 255
    return Product(
        content=dataset_digest(chosen, train, test),
        payloads={"contact_sheet.png": contact_sheet(train.images[shown], train.labels[shown])},
        verdicts=(
            Verdict(
                name="every_class_present",
                passed=not empty,
                blocking=True,
                message=f"no training images of {empty}" if empty else f"{len(chosen.classes)} classes",
            ),
        ),
        summary={
            "classes": list(chosen.classes),
            "train_counts": counts[0],
            "test_counts": counts[1],
            "shape": list(train.images.shape[1:]),
            "pixel_mean": [round(float(v), 4) for v in mean],
            "pixel_std": [round(float(v), 4) for v in std],
        },
    )


def facts(setting: Setting, dataset: Manifest) -> Facts:
    """What methods may know of the dataset before computing."""
    return _facts(setting, tuple(dataset.summary["train_counts"]))


def facts_before(setting: Setting) -> Facts:
    """The same before the dataset is read: its classes are taken to be as large as anyone may ask."""
    return _facts(setting, (sys.maxsize,) * len(setting.classes))


def _facts(setting: Setting, train_counts: tuple[int, ...]) -> Facts:
    return Facts(
        setting=setting.name,
        classes=setting.classes,
        train_counts=train_counts,
        size=setting.size,
        channels=setting.channels,
        normalisation=setting.normalisation,
        hflip=setting.hflip,
        committee=tuple(choice.key for choice in setting.committee),
        generators=setting.generators.names(),
    )
