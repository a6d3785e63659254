"""Peak memory of a synthesis, estimated before it starts.

Belongs here: the estimate from a recipe, and what a machine has free. Does not belong: how much each network keeps
(models/registry.py, measured), reducing anything: a batch carries meaning (its BN statistics), so it is only named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.methods.contract import Facts, Method
from dd_assets.models.registry import architecture
from dd_assets.planning.engine import Engine, MissingUnits
from dd_assets.planning.unit import Manifest, Unit
from dd_resources.compute import Compute
from dd_resources.containers import free_in_container

FLOAT = 4
STATES = 4
"""Copies of the images of a batch: themselves, their gradient and Adam's two moments; a view comes on top."""
PROCESS = 780 << 20
"""Bytes of a process that has loaded torch and torchvision and has run one image, measured on a CPU."""
WORKING = 1.6
"""Peak over what autograd keeps: gradients of activations and workspaces (ResNet-18, 128 px, batches of 1 to 80)."""
SHARE = 0.9
"""Of the free memory that a synthesis may take."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes that one shard needs at its peak."""

    fixed: int
    """Independent of the batch: the process, the decoded training images, the whole set."""
    per_image: int
    """For each image of a batch."""
    batch: int
    """Images per batch, as the recipe and the number of classes give it."""

    @property
    def total(self) -> int:
        """The peak."""
        return self.fixed + self.per_image * self.batch

    def batch_within(self, free: int) -> int:
        """The largest batch for that many free bytes; 0 if not even one image fits."""
        return max(0, (int(SHARE * free) - self.fixed) // self.per_image) if self.per_image else self.batch


def estimate(method: Method, parameters: Any, facts: Facts, ipc: int, networks: Sequence[str]) -> Estimate:
    """The peak of one shard; `networks` are the architectures whose activations are alive at the same time.

    An optimisation keeps the activations of a batch for the backward pass; other methods only look at images, for
    which the fixed part allows one forward batch's worth.
    """
    pixels = facts.size**2
    images = facts.channels * pixels
    fixed = PROCESS + (sum(facts.train_counts) * images if method.needs.real_images else 0)
    batch = int(getattr(parameters, "batch", 0))
    if not batch or not hasattr(parameters, "iterations"):
        return Estimate(fixed=fixed, per_image=0, batch=0)
    classes = len(facts.classes)
    span = classes if method.shards_by_index(parameters) else classes * ipc
    kept = sum(architecture(name).activation_floats(facts.size) for name in networks) * pixels
    per_image = round(FLOAT * (WORKING * kept + (STATES + 2) * images))
    return Estimate(fixed=fixed + FLOAT * STATES * span * images, per_image=per_image, batch=min(batch, span))


def require_fit(needed: Estimate, free: int, what: str) -> None:
    """Raise InputError, naming the batch that would fit, if the peak exceeds what may be taken of `free` bytes."""
    if needed.total <= SHARE * free:
        return
    smaller = needed.batch_within(free)
    remedy = (
        f"batch {smaller} would fit; it is part of the recipe, so the result is another one"
        if smaller
        else "not even one image per batch fits; use a machine with more memory"
    )
    raise InputError(f"{what} needs about {needed.total / 1e9:.1f} GB, {free / 1e9:.1f} GB are free", remedy)


def run_within(engine: Engine, units: Sequence[Unit], peak: Callable[[], Estimate], what: str) -> list[Manifest]:
    """As `engine.run`; raises InputError where units of that peak are missing that would not fit side by side.

    An engine that only looks notes the peak of what is missing, for whoever computes it (ahead.py).
    """
    if engine.look_only:
        try:
            return engine.run(units)
        except MissingUnits as found:
            engine.peaks.update(dict.fromkeys((unit.digest for unit in found.units), peak().total))
            raise
    missing = sum(engine.store.lookup(unit.digest) is None for unit in units)
    if missing:
        require_fit(peak(), memory_each(engine.compute, missing), what)
    return engine.run(units)


def networks_alive(method: Method, parameters: Any, facts: Facts, chosen: Setting) -> list[str]:
    """The architectures whose activations are alive at the same time; of a committee the heaviest ones."""
    members = [chosen.member(name).architecture for name in method.pool(parameters, facts)]
    if method.needs.teacher:
        members.append(chosen.teacher.architecture)
    members.sort(key=lambda name: architecture(name).activation_floats(facts.size), reverse=True)
    return members[: method.networks_at_once]


def memory_each(compute: Compute, pieces: int) -> int:
    """Bytes that each of so many pieces of work may take where it runs; on a cluster, what is set aside for one.

    2^62 where nobody can say: the memory of a GPU that a piece has yet to be given.
    """
    device, request = compute.resolved_device(), compute.request
    if request is None:
        return free_memory(device) // min(pieces, compute.resolved_workers())
    return request.memory if request.memory and device == "cpu" else 1 << 62


def free_memory(device: str = "cpu") -> int:
    """Bytes still free: of the GPU, or what this machine can give to processes (Linux' MemAvailable), and what the
    container's limit leaves.

    2^62 where the machine does not say.
    """
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            stated = dict(line.split(":", 1) for line in lines)
        of_machine = int(stated["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        of_machine = 1 << 62
    return min(of_machine, free_in_container())
