"""Computing a stored unit again, elsewhere, to see whether it still means the same.

Belongs here: recomputation in a fresh Python process with look-up off, the comparison of content digests, and keeping
the other result beside the first where that is asked for. Does not belong: replacing what is in use (`discard`, then
`sync`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dd_assets import errors
from dd_assets.errors import DDError, InputError
from dd_assets.machine import names_no_memory, no_memory
from dd_assets.planning.digests import plain
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore

MARK = "dd-assets verify result: "
"""Opens the one line of output that is the answer; whatever else a computation prints is not."""


SURROUNDINGS = ("host", "machine", "device", "threads", "torch", "numpy", "python")
"""Measurements that say where a computation ran."""

JOINED = "image_set"
"""The kind that only joins units of its own asset partition: those are what a synthesis computed."""


class RecomputationError(DDError):
    """The recomputation of a stored unit failed."""


class DifferentResultError(DDError):
    """A recomputation gave another result than the stored one."""

    exit_code = 7


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """How a recomputation compares with what is stored."""

    same: bool
    content_old: str
    content_new: str
    differs: tuple[str, ...] = ()
    """Where they differ, as far as the summaries show, and what differs between then and now around them."""
    then: Mapping[str, Any] = field(default_factory=dict)
    """Where the stored result was computed: host, device, threads, library versions."""
    now: Mapping[str, Any] = field(default_factory=dict)
    """Where it was computed again."""
    seconds: float = 0.0
    """Wall seconds of the recomputation, without starting Python."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the fresh process sends back."""

    content: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def own_recipes(store: ArtefactStore, reference: Reference) -> dict[str, str]:
    """Key to recipe digest of every unit that an asset partition computed: the shards of an image set before it."""
    found: dict[str, str] = {}
    for key, digest in reference.units.items():
        manifest = store.lookup(digest)
        if manifest is not None and manifest.recipe["unit"] == JOINED:
            found |= {f"{key}/{name}": source for name, source in sorted(manifest.sources.items())}
        found[key] = digest
    return found


def verify(
    store: ArtefactStore, raw: RawData, manifest: Manifest, device: str = "auto", keep: bool = False
) -> VerifyResult:
    """Compute a manifest's unit again in a fresh Python process and compare.

    With `keep` another result is stored beside the first, under its own content; otherwise nothing is written, and in
    no case is anything replaced. Inputs are read from the store by the recipes that the manifest names; the thread
    count is the recorded one. Raises InputError for a unit that reads more than its inputs, RecomputationError if the
    computation fails.
    """
    unit = manifest.unit()
    if unit.digest != manifest.recipe_digest:
        raise InputError(
            f"manifest {manifest.recipe_digest[:12]} does not hash to its own recipe digest",
            f"dd-assets discard {manifest.recipe_digest[:12]}, then run again to recompute it",
        )
    unread = sorted(set(unit.inputs) - set(unit.sources))
    if unread and not unit.setting:
        raise InputError(
            f"{unit.label or unit.name} summarises what its deployment holds ({len(unread)} references), which changes",
            "verify the units it names instead",
        )
    for name, source in unit.sources.items():
        _require_input(store, unit, name, source)
    answer = _ask(store, raw, manifest, Compute(device=device).resolved_device(), keep)
    return VerifyResult(
        same=answer.content == manifest.content,
        content_old=manifest.content,
        content_new=answer.content,
        differs=() if answer.content == manifest.content else tuple(_differences(manifest, answer)),
        then={name: manifest.measurements[name] for name in SURROUNDINGS if name in manifest.measurements},
        now={name: answer.environment[name] for name in SURROUNDINGS if name in answer.environment},
        seconds=answer.seconds,
    )


def _require_input(store: ArtefactStore, unit: Unit, name: str, source: str) -> None:
    found = store.lookup(source)
    if found is None or found.content != unit.inputs[name]:
        state = "is no longer in the store" if found is None else f"is now {found.content[:12]}"
        raise InputError(
            f"{unit.label or unit.name}: its input {name} (content {unit.inputs[name][:12]}) {state}",
            "there is nothing to compare with; run `dd-assets sync`",
        )


def _differences(manifest: Manifest, answer: _Answer) -> list[str]:
    """The summary's figures that changed, then library versions and machine facts that did."""
    old, new = plain(manifest.summary), plain(answer.summary)
    figures = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    then, now = manifest.measurements, answer.environment
    changed = [name for name in SURROUNDINGS if name in now and then.get(name) != now[name]]
    around = [f"{name} was {then.get(name)}, is {now[name]}" for name in changed]
    return [*(f"summary {name} differs" for name in figures), *around]


def _ask(store: ArtefactStore, raw: RawData, manifest: Manifest, device: str, keep: bool) -> _Answer:
    question = {
        "manifest": manifest.to_json(),
        "store": store.root,
        "storage_options": store.storage_options,
        "raw": raw.root,
        "device": device,
        "keep": keep,
    }
    done = subprocess.run(
        [sys.executable, "-m", "dd_assets.planning.verify"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not answers:
        cause = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if cause.startswith(MARK):
            refusal = json.loads(cause.removeprefix(MARK))
            raise getattr(errors, refusal["type"], RecomputationError)(refusal["problem"], refusal["remedy"])
        if names_no_memory(cause):
            raise no_memory(cause)
        raise RecomputationError(
            f"recomputing {manifest.label or manifest.recipe['unit']} failed: {cause}", "see `dd-assets doctor`"
        )
    return _Answer(**json.loads(answers[-1].removeprefix(MARK)))


def _answer(question: Mapping[str, Any]) -> _Answer:
    """The fresh process's part: compute, neither looking up nor resuming nor replacing anything."""
    import torch

    from dd_assets.planning.engine import Work, compute_product
    from dd_resources.compute import environment
    from dd_resources.device_locks import claim

    manifest = Manifest.from_json(question["manifest"])
    store = ArtefactStore(question["store"], question["storage_options"])
    torch.set_num_threads(int(manifest.measurements.get("threads", 1)))
    with claim(question["device"], lambda line: print(line, file=sys.stderr)) as device:
        started = time.perf_counter()
        work = Work(store=store, raw=RawData(question["raw"]), device=device, unit=manifest.unit(), resumable=False)
        product = compute_product(work)
        seconds = round(time.perf_counter() - started, 3)
    around = {"device": device, "host": os.uname().nodename, **environment()}
    if question["keep"] and product.content != manifest.content:
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        store.keep_beside(manifest.unit(), product, {"seconds": seconds, "finished": finished, **around})
    return _Answer(content=product.content, summary=plain(product.summary), environment=around, seconds=seconds)


if __name__ == "__main__":
    try:
        print(MARK + json.dumps(asdict(_answer(json.load(sys.stdin)))), flush=True)
    except DDError as error:
        told = {"type": type(error).__name__, "problem": error.problem, "remedy": error.remedy}
        sys.exit(MARK + json.dumps(told))
    # All is said. A library's thread once aborted the end of this process, which would have counted as a failure.
    os._exit(0)
