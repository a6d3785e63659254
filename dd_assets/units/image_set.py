"""The `image_set` unit: one draw's shards as one file.

Belongs here: joining shards, the contact sheet, the whole set's verdicts. Does not belong: synthesis.
"""

from __future__ import annotations

from collections.abc import Sequence

from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import IMAGES, read_images, write_images

CONTACT_SHEET = "contact_sheet.png"
NAMED = 3
"""Classes that a verdict names."""


def plan(shards: Sequence[Manifest], classes: Sequence[str], ipc: int, draw: int, label: str) -> Unit:
    """The unit that joins a draw's shards, in IPC-index order."""
    names = [f"shard{position:05d}" for position in range(len(shards))]
    return Unit(
        name="image_set",
        version=kind_of("image_set").version,
        parameters={"classes": list(classes), "ipc": ipc},
        inputs={name: shard.content for name, shard in zip(names, shards, strict=True)},
        sources={name: shard.recipe_digest for name, shard in zip(names, shards, strict=True)},
        seed=None,
        label=f"{label} draw {draw}",
    )


def load(work: Work, input_name: str = "images") -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (N, H, W, C), labels int64 (N,)) of an image set that is a unit's input."""
    images, labels, _ = read_images(work.input_bytes(input_name, IMAGES))
    return images, labels


def compute(unit: Unit, work: Work) -> Product:
    """Join the shards; rows are ordered by (IPC index, class)."""
    from dd_assets.report.pictures import contact_sheet

    manifests = [work.input(name) for name in sorted(unit.inputs)]
    parts = [read_images(work.store.read(manifest, IMAGES)) for manifest in manifests]
    images = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    columns = {name: np.concatenate([part[2][name] for part in parts]) for name in parts[0][2]}
    classes, ipc = unit.parameters["classes"], unit.parameters["ipc"]
    counts = np.bincount(labels, minlength=len(classes))
    hasher = ContentHasher("image_set").array("images", images).array("labels", labels).value("classes", classes)
    for name, values in columns.items():
        hasher.array(f"column/{name}", values)
    shown = np.concatenate([np.flatnonzero(labels == label)[:10] for label in range(min(10, len(classes)))])
    return Product(
        content=hasher.hexdigest(),
        payloads={
            IMAGES: write_images(images, labels, classes, columns),
            CONTACT_SHEET: contact_sheet(images[shown], labels[shown]),
        },
        verdicts=(
            Verdict(
                name="class_balance",
                passed=bool((counts == ipc).all()),
                blocking=True,
                message=f"{counts.min()} to {counts.max()} images per class, {ipc} wanted",
            ),
            _distinct(images, labels, classes),
            _not_constant(images, labels, classes),
        ),
        summary={"rows": len(labels), "shape": list(images.shape[1:])},
        measurements={"synthesis_seconds": sum(manifest.seconds for manifest in manifests)},
    )


def _distinct(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Verdict:
    """Names the classes of which all images are the same one."""
    _, kinds = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)
    kinds, distinct = kinds.ravel(), int(kinds.max()) + 1
    own = [kinds[labels == label] for label in range(len(classes))]
    alike = [label for label, found in enumerate(own) if len(found) > 1 and (found == found[0]).all()]
    return Verdict(
        name="distinct_images",
        passed=distinct == len(images),
        blocking=False,
        message=f"{distinct} distinct images of {len(images)}" + _named("; one image alone in class", alike, classes),
        figures={"distinct": distinct},
    )


def _not_constant(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Verdict:
    """A warning and no more: real data may hold blank images, which a selection then rightly takes."""
    constant = np.ptp(images, axis=(1, 2)).max(axis=1) == 0
    found = int(constant.sum())
    where = _named(", in class", np.unique(labels[constant]), classes)
    return Verdict(
        name="no_constant_images",
        passed=not found,
        blocking=False,
        message=f"{found} of {len(labels)} images are of one colour{where}",
        figures={"constant": found},
    )


def _named(before: str, labels: Sequence[int] | np.ndarray, classes: Sequence[str]) -> str:
    """'' for no class, else the first `NAMED` and how many more."""
    if not len(labels):
        return ""
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return f"{before} {', '.join(repr(classes[label]) for label in labels[:NAMED])}{more}"
