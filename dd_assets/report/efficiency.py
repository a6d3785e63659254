"""Seconds and bytes beside accuracy: what a method costs, which methods nothing dominates, and equal bytes.

Belongs here: costs from stored manifests, Pareto fronts, the equal-bytes frontier. Does not belong: drawing
(pictures.py), measuring (planning/engine.py does, when a unit is computed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dd_assets.lazy import np
from dd_assets.planning.unit import Manifest

Lookup = Callable[[str], Manifest | None]
CAUSES = {
    **dict.fromkeys(("teacher", "statistics", "priors", "surrogate", "class_gradients"), "teacher"),
    **dict.fromkeys(("generator", "fine_tuned_generator", "generator_samples", "prompt_bank"), "generator"),
    **dict.fromkeys(("class_centroids", "class_gaussians", "reference_latents"), "generator"),
}
"""Kind of unit to what it counts as; shards of images are synthesis, what only priors rest on is the teachers'."""
FREE = ("dataset", "image_set")
"""Kinds that count as nothing: reading, and joining shards."""
MIXED = "mixed"
"""In place of a device: both processors and GPUs."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one draw's images cost; seconds of the device: CPU-seconds on a CPU, wall seconds on a GPU."""

    synthesis: float
    """The method's own, and that of images that it starts from."""
    teacher: float
    """Teachers, other networks trained on the real images, and what is measured with them (statistics, gradients,
    priors with the distillations of their own); shared by all methods that use them."""
    generator: float
    """The generator, its fine-tuning and samples, and what is measured with it (centroids, latents, distributions)."""
    peak_bytes: int
    """Largest resident memory of a process that made a shard; what ran in it before counts as well."""
    device: str
    """Of the method's own shards, or `MIXED`: then the seconds of synthesis are no sum of one kind."""

    @property
    def total(self) -> float:
        """With the teacher's and the generator's share, as if nobody else used them."""
        return self.synthesis + self.teacher + self.generator


def cost_of(images: Manifest, lookup: Lookup) -> Cost:
    """The cost of one image set: every unit that it rests on, once, whichever ways lead there.

    lookup: recipe digest to manifest. What is no longer in the store counts nothing.
    """
    seconds = {"synthesis": 0.0, "teacher": 0.0, "generator": 0.0}
    seen, waiting, measured, peak, devices = set(), list(images.sources.values()), list[str](), 0, list[str]()
    while waiting or measured:
        # What both the images and their priors rest on is the images'.
        below_priors = not waiting
        digest = (waiting or measured).pop()
        manifest = None if digest in seen else lookup(digest)
        seen.add(digest)
        if manifest is None:
            continue
        kind = manifest.recipe["unit"]
        (measured if below_priors or kind == "priors" else waiting).extend(manifest.sources.values())
        if below_priors:
            seconds["teacher"] += 0.0 if kind in FREE else manifest.device_seconds
        elif kind.startswith("images/"):
            seconds["synthesis"] += manifest.device_seconds
            peak = max(peak, int(manifest.measurements.get("peak_rss_bytes", 0)))
            devices.append(str(manifest.measurements.get("device", "cpu")))
        elif kind in CAUSES:
            seconds[CAUSES[kind]] += manifest.device_seconds
    return Cost(**seconds, peak_bytes=peak, device=_one_device(devices))


def device_kind(device: object) -> str:
    """'cpu', 'gpu' or `MIXED`."""
    name = str(device)
    return "cpu" if name.startswith("cpu") else name if name == MIXED else "gpu"


def _one_device(devices: Sequence[str]) -> str:
    """One of devices of one kind, or `MIXED`."""
    return MIXED if len({device_kind(device) for device in devices}) > 1 else (devices or ["cpu"])[-1]


def stored_bytes(row: Mapping[str, Any]) -> int | None:
    """Bytes of a row's images and labels; None where one of them is no longer in the store."""
    gone = not row["image_bytes"] or (row["label"] == "soft" and not row["label_bytes"])
    return None if gone else int(row["image_bytes"] + row["label_bytes"])


def mean_cost(sets: Iterable[Manifest], lookup: Lookup) -> Cost | None:
    """The mean over draws, with the largest memory; None without any."""
    found = [cost_of(manifest, lookup) for manifest in sets]
    if not found:
        return None
    means = {name: sum(getattr(c, name) for c in found) / len(found) for name in ("synthesis", "teacher", "generator")}
    return Cost(**means, peak_bytes=max(c.peak_bytes for c in found), device=_one_device([c.device for c in found]))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which of the points (cost, accuracy) no other dominates: none costs no more and is no worse, and better in one.

    Points that are alike are all on the front or all off it.
    """

    def dominated(cost: float, accuracy: float) -> bool:
        return any(c <= cost and a >= accuracy and (c < cost or a > accuracy) for c, a in points)

    return [not dominated(*point) for point in points]


def equal_bytes(rows: Sequence[Mapping[str, Any]], control: str = "random") -> list[dict[str, Any]]:
    """Accuracy over bytes of images and labels, one entry per row: {row's keys, bytes, front, control, gain}.

    rows: the leaderboard's of one dataset and student, all IPC and label modes; those that do not compete and those
    whose images or labels have left the store are left out. Soft
    labels appear twice where `teacher_bytes` is known: as stored, and as the teacher with which their seed makes them
    anew (label `soft, seed + teacher`), which has the same accuracy; labels found
    online only as the latter, since their table is worth nothing without the network. `front`: no fewer bytes do as
    well.
    `control` is what random images reach with so many bytes, from the least to the most that was tried: the best of the
    label modes, linear in log bytes between IPC values, a mode that ends earlier keeping its last; None outside.
    `gain`: how much better the row is.
    """
    competing = [row for row in rows if not row["apart"] and row["accuracy_mean"] is not None]
    points = [point for row in competing if stored_bytes(row) is not None for point in _points(row)]
    fronts = pareto_front([(point["bytes"], point["accuracy"]) for point in points])
    ladders = _ladders([point for point in points if point["method"] == control])
    for point, front in zip(points, fronts, strict=True):
        point["front"] = front
        point["control"] = _reached(ladders, point["bytes"])
        point["gain"] = None if point["control"] is None else point["accuracy"] - point["control"]
    return sorted(points, key=lambda point: (point["bytes"], -point["accuracy"], point["method"]))


def _points(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = {name: row[name] for name in ("method", "ipc", "label")}
    point = {**keys, "accuracy": row["accuracy_mean"], "bytes": stored_bytes(row)}
    if row["label"] != "soft" or not row.get("teacher_bytes"):
        return [point]
    seeded = {**point, "label": "soft, seed + teacher", "bytes": row["image_bytes"] + row["teacher_bytes"]}
    return [seeded] if row.get("label_storage") == "online" else [point, seeded]


def _ladders(points: Sequence[Mapping[str, Any]]) -> list[list[tuple[float, float]]]:
    """(log bytes, accuracy) by label mode, ascending."""
    modes = dict.fromkeys(point["label"] for point in points)
    return [
        sorted((math.log(point["bytes"]), point["accuracy"]) for point in points if point["label"] == mode)
        for mode in modes
    ]


def _reached(ladders: Sequence[Sequence[tuple[float, float]]], count: float) -> float | None:
    """The best value that some ladder has at so many bytes or, past its end, at fewer; None outside all of them."""
    x = math.log(count)
    begun = [ladder for ladder in ladders if ladder[0][0] <= x + 1e-12]
    if not any(x <= ladder[-1][0] + 1e-12 for ladder in begun):
        return None
    return max(float(np.interp(x, [at for at, _ in own], [value for _, value in own])) for own in begun)
