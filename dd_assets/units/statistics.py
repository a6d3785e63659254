"""The `statistics` unit: what one committee member's layers see in the real training images.

Belongs here: planning it and keeping the arrays. Does not belong: the measurement (synthesis/real_statistics.py).
"""

from __future__ import annotations

from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import teacher
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation

STATISTICS = "statistics.safetensors"
LARGE = 128
"""Pixels from which the values of the ImageNet branches hold instead of those of the CIFAR and Tiny-ImageNet ones."""


def plan(setting: Setting, dataset: Manifest, member: Manifest, name: str) -> Unit:
    """The statistics of one member; patch, batch and crops are G-VBSM's (Branch_*/recover)."""
    large = setting.size >= LARGE
    return Unit(
        name="statistics",
        version=kind_of("statistics").version,
        parameters={
            "patch": 16 if large else 4,
            "batch": 256 if large else 64,
            "pad_crop": 0 if large else setting.size // 8,
            "crop_scale_min": 0.08 if large else 1.0,
            "hflip": setting.hflip,
            "classes": len(setting.classes),
            "normalisation": setting.normalisation,
        },
        inputs={"dataset": dataset.content, "teacher": member.content},
        sources={"dataset": dataset.recipe_digest, "teacher": member.recipe_digest},
        seed=0,
        setting=setting.name,
        label=f"statistics {setting.name} {name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Measure; the arrays are float32."""
    from safetensors.numpy import save

    from dd_assets.synthesis.real_statistics import measure

    given = unit.parameters
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    arrays = measure(
        teacher.load(work),
        train.images,
        train.labels,
        normalisation=typed_normalisation(given["normalisation"]),
        classes=given["classes"],
        patch=given["patch"],
        batch=given["batch"],
        pad_crop=given["pad_crop"],
        crop_scale_min=given["crop_scale_min"],
        hflip=given["hflip"],
        seed=unit.seed or 0,
        device=work.device,
    )
    hasher = ContentHasher("statistics")
    for name, values in arrays.items():
        hasher.array(name, values)
    finite = all(np.isfinite(values).all() for values in arrays.values())
    return Product(
        content=hasher.hexdigest(),
        payloads={STATISTICS: save({name: np.ascontiguousarray(values) for name, values in arrays.items()})},
        verdicts=(
            Verdict(
                name="finite_statistics",
                passed=bool(finite),
                blocking=True,
                message=f"{len(arrays)} arrays, {sum(values.size for values in arrays.values())} numbers",
            ),
        ),
        summary={"arrays": len(arrays), "numbers": int(sum(values.size for values in arrays.values()))},
    )


def load(work: Work, member: str) -> dict[str, np.ndarray]:
    """The arrays of a member that is an input of the unit."""
    from safetensors.numpy import load as arrays

    return arrays(work.input_bytes(f"statistics/{member}", STATISTICS))
