"""What ImageNet-1K at IPC 50 asks for with every method: GPU-hours, bytes and store requests.

Belongs here: arithmetic over recipes, the protocol and stated costs. Does not belong: timing anything (gpu.py does).

    python -m benchmarks.sizing                 # the tables of docs/sizing.md
    python -m benchmarks.sizing --ipc 10 --gpus 4 16
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting
from dd_assets.evaluation.protocol import Protocol
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.planning.scoring import trainings
from dd_assets.units.labels import estimated_bytes

DATA = "imagenet1k"
TRAIN_IMAGES = 1_281_167
STEP = 2.1 / 4000
"""Seconds for an image to go forward and back through ResNet-18 at 224 px. Assumed: SRe2L's stated 2.1 s per image on
an RTX 4090 over its 4,000 iterations."""
FORWARD = STEP / 3
"""Seconds forward alone. Assumed: the backward pass costs two forward passes."""
DENOISE = 2.6 / (50 * 2)
"""Seconds of one pass through a latent diffusion model at 512 px. Assumed: D4M's stated 2.6 s per image over its 50
steps with guidance, two passes each."""
PNG = 0.8
"""Share of raw bytes that a lossless PNG keeps. Assumed."""
REQUESTS = 14
"""Store requests of one unit with one payload: looks, lease, payload, manifest; counted by tests/test_sizing.py."""
READS = 4
"""Further ones: two inputs of a unit, each its manifest and a payload."""
BEAT_SECONDS = 12
"""One more request that often, while a unit is computed (a fifth of leases.DEFAULT_SECONDS)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method asks for."""

    method: str
    seconds_per_image: float
    basis: str
    """stated: by the method's recipe; iterations, passes: derived from the recipe and the assumed seconds."""
    images: int
    """Of all draws."""
    shards: int
    image_hours: float
    label_hours: float
    training_hours: float
    label_tables: int
    trainings: int
    bytes: float
    requests: int

    @property
    def hours(self) -> float:
        """GPU-hours."""
        return self.image_hours + self.label_hours + self.training_hours

    def least_hours(self) -> float:
        """Wall hours with as many GPUs as it can use: a shard, then a label table, then a training."""
        longest = (self.image_hours, self.shards), (self.label_hours, self.label_tables)
        return sum(h / n for h, n in (*longest, (self.training_hours, self.trainings)) if n)


def row(method: Method, setting: Setting, ipc: int, student: str = "resnet18") -> Row:
    """What a method asks for at an IPC: its images, the soft-label tables and the trainings of one student."""
    parameters = method.recipe_for(setting.data).parameters
    classes, protocol = len(setting.classes), setting.protocol.for_student(True, len(setting.classes) * ipc, student)
    per_draw, scores = classes * ipc, trainings(method, setting)
    seconds, basis = image_seconds(method, parameters, classes, ipc)
    shards = method.draws * (ipc if method.shards_by_index(parameters) else 1)
    modes = len(setting.labels)
    views = per_draw * protocol.epochs
    image_hours = per_draw * method.draws * seconds / 3600
    label_hours = len(scores) * views * FORWARD / 3600 if "soft" in setting.labels else 0.0
    training_hours = len(scores) * modes * views * STEP / 3600
    units = shards + method.draws + len(scores) * (1 + modes)
    return Row(
        method=method.name,
        seconds_per_image=seconds,
        basis=basis,
        images=per_draw * method.draws,
        shards=shards,
        image_hours=image_hours,
        label_hours=label_hours,
        training_hours=training_hours,
        label_tables=len(scores),
        trainings=len(scores) * modes,
        bytes=_bytes(per_draw * method.draws, setting.size, len(scores), per_draw, classes, protocol),
        requests=round((REQUESTS + READS) * units + 3600 * (image_hours + label_hours + training_hours) / BEAT_SECONDS),
    )


def image_seconds(method: Method, parameters: Any, classes: int, ipc: int) -> tuple[float, str]:
    """(seconds per synthetic image, where they come from)."""
    iterations = getattr(parameters, "iterations", 0) if method.family == "optimisation" else 0
    if method.family == "optimisation" and not iterations:
        return 0.0, "none: initial images alone"
    stated = stated_seconds(method.recipe_for(DATA).cost)
    if stated is not None:
        return stated, "stated"
    if iterations:
        networks = 1 + getattr(parameters, "extra", 0) * getattr(parameters, "chance", 0)
        return iterations * networks * STEP, f"iterations: {iterations} x {networks:g} networks"
    if method.needs.generator:
        passes = generator_passes(parameters, ipc)
        return passes * DENOISE, f"passes: {passes:g} of the generator"
    if method.needs.teacher or method.needs.committee:
        looked_at = min(TRAIN_IMAGES, classes * getattr(parameters, "mipc", TRAIN_IMAGES))
        return looked_at / (classes * ipc) * FORWARD, f"passes: {looked_at} images looked at"
    return 0.0, "none: no network"


def generator_passes(parameters: Any, ipc: int) -> float:
    """Passes of the denoiser per image: two per guided step, or two per pair and candidate where those are scored."""
    if hasattr(parameters, "pairs"):
        return 2 * parameters.pairs * parameters.mipc / ipc
    return 2 * parameters.steps


def stated_seconds(cost: str) -> float | None:
    """Seconds per image in a recipe's cost line, or None if it states none."""
    found = re.search(r"([\d.]+) (ms|s) per (?:\d+ px )?image", cost)
    return float(found[1]) * (1e-3 if found[2] == "ms" else 1) if found else None


def _bytes(images: int, size: int, tables: int, per_draw: int, classes: int, protocol: Protocol) -> float:
    return images * size * size * 3 * PNG + tables * estimated_bytes(per_draw, classes, protocol)


def wall_hours(rows: Sequence[Row], gpus: int) -> float:
    """The least wall hours of all rows side by side: the work shared evenly, and no method faster than its chain."""
    return max(sum(one.hours for one in rows) / gpus, *(one.least_hours() for one in rows))


def teacher_hours(setting: Setting) -> float:
    """GPU-hours of training the setting's ResNet-18 teacher; none with imported weights."""
    return setting.teacher.recipe.epochs * TRAIN_IMAGES * STEP / 3600


def tables(rows: Sequence[Row], gpus: Sequence[int]) -> str:
    """The Markdown tables."""
    columns = ("method", "s per image", "basis", "images", "shards", "images, h", "labels, h", "trainings, h", "all, h")
    lines = ["| " + " | ".join((*columns, "GB", "requests")) + " |", "|" + "---|" * 11]
    for one in sorted(rows, key=lambda one: one.hours):
        lines.append(
            f"| {one.method} | {one.seconds_per_image:.3g} | {one.basis} | {one.images:,} | {one.shards} |"
            f" {one.image_hours:,.1f} | {one.label_hours:,.1f} | {one.training_hours:,.1f} | {one.hours:,.1f} |"
            f" {one.bytes / 1e9:,.0f} | {one.requests:,} |"
        )
    hours, stored, requests = (sum(getattr(one, name) for one in rows) for name in ("hours", "bytes", "requests"))
    lines.append(f"| **all** | | | | | | | | **{hours:,.0f}** | **{stored / 1e9:,.0f}** | **{requests:,}** |")
    lines += ["", "| GPUs | wall hours, at least | of it shared evenly | longest method |", "|---|---|---|---|"]
    longest = max(rows, key=lambda one: one.least_hours())
    for count in gpus:
        lines.append(
            f"| {count} | {wall_hours(rows, count):,.1f} | {hours / count:,.1f} |"
            f" {longest.method}: {longest.least_hours():,.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ipc", type=int, default=50)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    given = parser.parse_args()
    chosen = [method for method in METHODS().values() if not method.is_ablation]
    setting = CATALOGUE[DATA]
    print(tables([row(method, setting, given.ipc) for method in chosen], given.gpus))
    print(f"\nA ResNet-18 teacher, if it is trained and not imported: {teacher_hours(setting):.1f} GPU-hours.")


if __name__ == "__main__":
    main()
