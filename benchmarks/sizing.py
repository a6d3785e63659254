"""What ImageNet-1K at IPC 50 asks for with every method: GPU-hours, bytes and store requests.

Belongs here: arithmetic over recipes, the protocol and measured costs. Does not belong: timing anything
(image_costs.py, gpu.py).

    python -m benchmarks.sizing                 # the tables of docs/sizing.md
    python -m benchmarks.sizing --ipc 10 --gpus 4 16
"""

from __future__ import annotations

import argparse
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.levels import schedule_of
from dd_assets.evaluation.protocol import Protocol
from dd_assets.methods.contract import Method
from dd_assets.methods.delt.synthesis import entry_iterations
from dd_assets.methods.registry import METHODS
from dd_assets.planning.scoring import trainings
from dd_assets.units.labels import estimated_bytes

DATA = "imagenet1k"
TRAIN_IMAGES = 1_281_167
SRE2L = 2.1 / 4000
"""Seconds of an SRe2L iteration per image on the GPU that hours are counted in, an RTX 4090, as the paper states them.
The only figure that is not measured: all else is measured in proportion to it."""
COSTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "image_costs.json"
"""What else costs how many steps, as measured by image_costs.py."""
SCHEDULES: Mapping[bool, Mapping[str, Any]] = {
    False: {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    True: {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1},
}
"""DiT-XL/2's and, where text is read, Stable Diffusion's."""
WINDOWS = {
    "dap": ("guided_from", "guided_until"),
    "igd": ("low", "high"),
    "prism_dfkd": ("level_low", "level_high"),
}
"""The fields that say at which levels a guidance by slopes acts."""
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
    """What of the recipe was multiplied by a measured cost."""
    stated: float | None
    """Seconds per image that the recipe states, with other hardware and often other code."""
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
    stated = stated_seconds(method.recipe_for(setting.data).cost)
    # Other code on another machine may be the better guide for a GPU: the greater of the two is planned with.
    image_hours = per_draw * method.draws * max(seconds, stated or 0.0) / 3600
    label_hours = len(scores) * views * costs()["forward"] * step() / 3600 if "soft" in setting.labels else 0.0
    training_hours = len(scores) * modes * views * costs()["training"] * step() / 3600
    units = shards + method.draws + len(scores) * (1 + modes)
    return Row(
        method=method.name,
        seconds_per_image=seconds,
        basis=basis,
        stated=stated,
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


@functools.cache
def costs() -> Mapping[str, float]:
    """What was measured, in steps."""
    return {row["what"]: row["steps"] for row in json.loads(COSTS.read_text())["rows"]}


def step() -> float:
    """Seconds in which an image goes forward through a ResNet-18 at 224 px and back to its pixels."""
    return SRE2L / costs()["sre2l"]


def image_seconds(method: Method, parameters: Any, classes: int, ipc: int) -> tuple[float, str]:
    """(seconds per synthetic image, where they come from)."""
    steps, basis = image_steps(method, parameters, classes, ipc)
    return steps * step(), basis


def image_steps(method: Method, parameters: Any, classes: int, ipc: int) -> tuple[float, str]:
    """(steps of a ResNet-18 per synthetic image, what they consist of)."""
    if method.family == "optimisation":
        count = mean_iterations(parameters, ipc)
        each = costs()[method.variant_of or method.name]
        return count * each, f"{count:,.0f} iterations x {each:.2f}" if count else "initial images alone"
    if method.needs.generator:
        return _generation(method, parameters, ipc)
    if method.name == "rded":
        looked_at = parameters.mipc * parameters.num_crops / ipc
        return looked_at * costs()["rded"], f"{looked_at:,.0f} crops x {costs()['rded']:.2f}"
    if method.needs.committee:
        looked_at = parameters.mipc / ipc
        return looked_at * costs()["attention"], f"{looked_at:,.0f} images x {costs()['attention']:.2f}"
    if method.needs.teacher:
        looked_at = TRAIN_IMAGES / (classes * ipc)
        return looked_at * costs()["forward"], f"{looked_at:,.1f} images x {costs()['forward']:.2f}"
    return 0.0, "no network"


def mean_iterations(parameters: Any, ipc: int) -> float:
    """Iterations of an image, averaged over IPC indices: PRISM's indices get fewer by turns, DELT's groups later."""
    count = parameters.iterations
    if getattr(parameters, "shorter_by", 0) and count:
        return count - parameters.shorter_by * sum(index % parameters.cycle for index in range(ipc)) / ipc
    if hasattr(parameters, "rounds") and not hasattr(parameters, "cycle"):
        return count - float(entry_iterations(ipc, parameters.rounds, count).mean())
    return count


def _generation(method: Method, parameters: Any, ipc: int) -> tuple[float, str]:
    text = parameters.condition == "text"
    counted = pair_passes(parameters, ipc) if hasattr(parameters, "pairs") else sampling_passes(method, parameters, ipc)
    plain = costs()["text denoiser" if text else "denoiser"]
    # Stable Diffusion works at 512 px, four times the area; what goes back through it is taken to grow alike.
    slope = costs()["denoiser and back"] * plain / costs()["denoiser"]
    area = 4 if text else 1
    steps = counted.plain * plain + counted.slopes * slope
    steps += area * (counted.decoded * costs()["decoder"] + counted.decoder_slopes * costs()["decoder and back"])
    return steps, str(counted)


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Passes of a generator per image."""

    plain: float
    slopes: float = 0.0
    """Through the denoiser and back to its input."""
    decoded: float = 0.0
    decoder_slopes: float = 0.0

    def __str__(self) -> str:
        named = {"passes": self.plain, "with a slope": self.slopes, "slopes of the decoder": self.decoder_slopes}
        return ", ".join(f"{count:,.0f} {name}" for name, count in named.items() if count)


def pair_passes(parameters: Any, ipc: int) -> Passes:
    """Candidates scored by the loss with and without their label."""
    return Passes(plain=2 * parameters.pairs * parameters.mipc / ipc)


def sampling_passes(method: Method, parameters: Any, ipc: int) -> Passes:
    """Of the recipe's steps from its start on; a guidance by slopes counts where it is active."""
    schedule = schedule_of(SCHEDULES[parameters.condition == "text"], parameters.steps)
    skipped = 0 if parameters.start == "noise" else schedule.position_of(parameters.start_level)
    low, high = (getattr(parameters, name) for name in WINDOWS[method.name]) if method.through else (1.0, 0.0)
    guided = int(((schedule.levels()[skipped:] >= low) & (schedule.levels()[skipped:] <= high)).sum())
    drawn = parameters.candidates + len(parameters.search_scales) * len(parameters.search_levels) / 2
    plain = drawn * (parameters.steps - skipped) * (1 if parameters.guidance_scale == 1 else 2)
    depth = getattr(parameters, "layer", 1.0)
    if method.needs.reference_latents:
        # A class's references pass through the same layers once per step, for all of its images.
        plain += guided * depth * parameters.count / ipc
    return Passes(
        plain=plain,
        slopes=parameters.refine + (guided * depth if "denoiser" in method.through else 0),
        decoded=drawn,
        decoder_slopes=guided if "decoder" in method.through else 0,
    )


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
    return setting.teacher.recipe.epochs * TRAIN_IMAGES * costs()["training"] * step() / 3600


def tables(rows: Sequence[Row], gpus: Sequence[int]) -> str:
    """The Markdown tables."""
    columns = ("method", "s per image", "stated", "consists of", "images", "shards", "images, h", "labels, h")
    lines = ["| " + " | ".join((*columns, "trainings, h", "all, h", "GB", "requests")) + " |", "|" + "---|" * 12]
    for one in sorted(rows, key=lambda one: one.hours):
        lines.append(
            f"| {one.method} | {one.seconds_per_image:.3g} |"
            f" {'–' if one.stated is None else f'{one.stated:.3g}'} | {one.basis} | {one.images:,} | {one.shards} |"
            f" {one.image_hours:,.1f} | {one.label_hours:,.1f} | {one.training_hours:,.1f} | {one.hours:,.1f} |"
            f" {one.bytes / 1e9:,.0f} | {one.requests:,} |"
        )
    hours, stored, requests = (sum(getattr(one, name) for one in rows) for name in ("hours", "bytes", "requests"))
    lines.append(f"| **all** | | | | | | | | | **{hours:,.0f}** | **{stored / 1e9:,.0f}** | **{requests:,}** |")
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
