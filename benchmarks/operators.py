"""Which operators a stored unit's time goes to: it is computed again under torch's profiler, and nothing is written.

Belongs here: one unit of an asset partition, its operators' own CPU time as shares. Does not belong: timing arms
against each other (the other scripts; the profiler itself costs time). Run it on a store that holds the partition:

    python -m benchmarks.operators dap/synthetic_images 'digits|10'
    python -m benchmarks.operators sre2l/score_convnet2_w64 'digits|10' --key soft/draw0/seed0
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import report
from dd_assets.planning.engine import Work, compute_product
from dd_assets.planning.verify import own_recipes
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from dd_resources.threads import set_threads


def main() -> None:
    """Compute, count, print the largest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("asset")
    parser.add_argument("partition")
    parser.add_argument("--key", help="which unit, by the beginning of its key; the first one otherwise")
    parser.add_argument("--store", default=".dd/store")
    parser.add_argument("--data", default="", help="where raw data lies (DD_DATA_ROOT), for units that read it")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--out")
    given = parser.parse_args()
    store = ArtefactStore(str(Path(given.store).resolve()))
    reference = store.read_reference(NAMESPACE, given.asset, given.partition)
    if reference is None:
        parser.error(f"{given.store} holds no {given.asset} [{given.partition}]")
    recipes = own_recipes(store, reference)
    known = [key for key in recipes if key.startswith(given.key or "")]
    if not known:
        parser.error(f"no unit's key begins with {given.key!r}; there are {', '.join(recipes)}")
    found = shares(store, RawData(given.data), recipes[known[0]])
    small = sum(share for _, share, _ in found[given.rows :])
    rows = [{"operator": name, "share %": share, "calls": calls} for name, share, calls in found[: given.rows]]
    report(f"operators {given.asset} {given.partition} {known[0]}", [*rows, _rest(small)], given.out)


def _rest(share: float) -> dict[str, Any]:
    return {"operator": "all others", "share %": share, "calls": ""}


def shares(store: ArtefactStore, raw: RawData, digest: str) -> list[tuple[str, float, int]]:
    """Operators of one unit's computation by their own CPU time, in percent of all, with their calls."""
    from torch.profiler import ProfilerActivity, profile

    manifest = store.lookup(digest)
    assert manifest is not None, f"the reference names {digest[:12]}, which the store does not hold"
    set_threads(1)
    work = Work(store=store, raw=raw, device="cpu", unit=manifest.unit(), resumable=False)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        compute_product(work)
    events = seen.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    found = [(event.key, 100 * event.self_cpu_time_total / whole, event.count) for event in events]
    return sorted(found, key=lambda row: -row[1])


if __name__ == "__main__":
    main()
