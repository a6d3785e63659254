"""Memory and time of a generation, estimated before it starts.

Belongs here: from what a generator's samples told of it to the figures of a cell. Does not belong: measuring a
generator (diffusion/footprint.py, units/generator_samples.py), the memory of optimisations (memory.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.levels import closed_form
from dd_assets.methods.contract import Facts, Method
from dd_assets.planning.memory import PROCESS, Estimate, estimate, networks_alive
from dd_assets.planning.unit import Manifest

LIBRARIES = 220 << 20
"""Bytes that diffusers adds to a process, measured on a CPU."""
LIVE = 2.5
"""Layer outputs alive at once in a pass without gradients, in units of the largest (8 layers, 16 and 48 images)."""
KEPT_SHARE = 1.2
"""Peak over what autograd keeps in a pass with gradients (the same network)."""
SAMPLE_STEPS = 50
"""Of the generator's own samples."""
GRADIENT_PASSES = 4
"""What a guided step costs in passes: the plain one, another with gradients, and its backward, twice a pass."""
SURROGATE_PASSES = 20
"""What the gradient of a surrogate's gradient adds to a step within its window. Measured on digits: 33 CPU-seconds per
100 images, 4.9 without, 18 steps in the window: 16 passes. The network's and the surrogate's sizes decide, so that it
is a guess elsewhere."""
ALONE = 0.5
"""A pass under the class alone, in passes under it and the null class."""
BLOCK = 0.25
"""Depth that a fraction of it may be rounded up by, of networks of four blocks or more."""


def peak_of(
    method: Method, parameters: Any, facts: Facts, ipc: int, chosen: Setting, samples: Manifest | None
) -> Estimate:
    """The peak of one shard of any method; `samples` are those of the generator that it samples from."""
    if method.needs.generator:
        return sampling_memory(method, parameters, facts, ipc, samples)
    return estimate(method, parameters, facts, ipc, networks_alive(method, parameters, facts, chosen))


def sampling_memory(method: Method, parameters: Any, facts: Facts, ipc: int, samples: Manifest | None) -> Estimate:
    """The peak of one shard; of the process alone while nothing is known of the generator."""
    known: Mapping[str, int] = samples.summary.get("footprint", {}) if samples else {}
    images = sum(facts.train_counts) * facts.channels * facts.size**2 if method.needs.real_images else 0
    fixed = PROCESS + LIBRARIES + images + known.get("weights", 0)
    batch = int(getattr(parameters, "batch", 0))
    if not known or not batch:
        return Estimate(fixed=fixed, per_image=0, batch=0)
    compared = _compared(parameters, facts)
    drawn = ipc * getattr(parameters, "candidates", 1)
    classes = 1 if getattr(parameters, "searches", False) else len(facts.classes)
    span = max(compared) if compared else classes * (1 if method.shards_by_index(parameters) else drawn)
    # A comparison asks with the label and without it, as classifier-free guidance does, and decodes nothing.
    scales = getattr(parameters, "search_scales", ()) or (getattr(parameters, "guidance_scale", 1.0),)
    both = 1 if not compared and set(scales) == {1} else 2
    plain = LIVE * max(both * known["denoiser"], 0 if compared else known.get("decoder", 0))
    through = set(method.through) | ({"denoiser"} if getattr(parameters, "refine", 0) else set())
    kept = both * known["denoiser_kept"] if "denoiser" in through else 0
    kept += known.get("decoder_kept", 0) if "decoder" in through else 0
    found = Estimate(fixed=fixed, per_image=round(max(plain, KEPT_SHARE * kept)), batch=min(batch, span))
    encodes = method.needs.real_images or method.needs.reference_latents
    encoding = fixed + round(LIVE * known.get("encoder", 0)) if encodes else 0
    # The encoder has a batch of its own: where its pass is the peak, no smaller `batch` lowers it.
    return found if found.total >= encoding else Estimate(fixed=encoding, per_image=0, batch=0)


def _compared(parameters: Any, facts: Facts) -> list[int]:
    """Candidates of each class whose losses with and without their label are compared (DDPS); [] for a sampling."""
    most = getattr(parameters, "mipc", 0) if getattr(parameters, "pairs", 0) else 0
    return [min(most, count) for count in facts.train_counts] if most else []


def sampling_seconds(
    method: Method, parameters: Any, facts: Facts, ipc: int, samples: Manifest | None, draws: int
) -> float | None:
    """Seconds of all images of a cell on the device that drew the generator's samples, or None without them.

    Every step is taken for a guided one where the method guides by gradients, and every start for noise; steps of a
    search and references are counted. That makes it an upper figure but for what does not pass through the generator:
    a surrogate's gradients are estimated (`SURROGATE_PASSES`), the teacher's answers and a search's decoding left out.
    """
    steps, compared = getattr(parameters, "steps", 0), _compared(parameters, facts)
    if samples is None or not (steps or compared) or not samples.seconds:
        return None
    step = samples.seconds / samples.summary["rows"] / SAMPLE_STEPS
    if compared:
        # A pair of losses is the two passes of one guided step.
        return float(draws * sum(compared) * parameters.pairs * step)
    schedule = samples.summary.get("schedule")
    guides = bool(method.through) and getattr(parameters, "gamma", 1.0) != 0
    each = steps * (GRADIENT_PASSES if guides else 1) + _surrogate_passes(parameters, schedule)
    each = (each + _search_steps(parameters, schedule)) * getattr(parameters, "candidates", 1)
    each += _reference_passes(method, parameters, ipc)
    each += getattr(parameters, "refine", 0) * (GRADIENT_PASSES - 1) / 2
    return draws * ipc * len(facts.classes) * each * step


def _search_steps(parameters: Any, schedule: Mapping[str, Any] | None) -> int:
    """Steps in which a search tries all its pairs for one image: in its own steps, from each level on."""
    if not getattr(parameters, "searches", False):
        return 0
    quick = parameters.search_steps
    made = closed_form(schedule, quick) if schedule else None
    levels = parameters.search_levels or (parameters.start_level,)
    each = sum(quick - made.position_of(level) if made else quick for level in levels)
    return each * len(parameters.search_scales or (parameters.guidance_scale,))


def _surrogate_passes(parameters: Any, schedule: Mapping[str, Any] | None) -> float:
    """What gradients of a surrogate's gradients add to one image, in the steps between `low` and `high`."""
    if not getattr(parameters, "influence", 0.0):
        return 0.0
    made = closed_form(schedule, parameters.steps) if schedule else None
    return SURROGATE_PASSES * (len(made.within(parameters.low, parameters.high)) if made else parameters.steps)


def _reference_passes(method: Method, parameters: Any, ipc: int) -> float:
    """What references cost per image that is kept, in passes: their features at every step, and once at the end.

    Those of a whole class are asked for once for all of its images in a pass.
    """
    if not (method.needs.reference_latents and hasattr(parameters, "references")):
        return 0.0
    drawn = ipc * parameters.candidates
    sets = math.ceil(drawn / parameters.batch) / ipc if parameters.references == "class" else parameters.candidates
    each = parameters.count * ALONE * min(1.0, parameters.layer + BLOCK)
    return (parameters.steps * (parameters.gamma != 0) + 1) * sets * each
