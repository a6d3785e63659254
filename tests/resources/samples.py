"""Small units, products and process helpers that several store tests share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_resources.store import ArtefactStore, payload_path


def unit(seed: int = 0) -> Unit:
    """One unit per seed."""
    return Unit(name="teacher", version=1, parameters={"epochs": 1}, inputs={}, seed=seed, label="teacher digits")


def product(data: bytes = b"weights", passed: bool = True) -> Product:
    """A product of one file."""
    verdict = Verdict(name="floor", passed=passed, blocking=True, message="top-1 12 %, floor 90 %")
    return Product(content="c" * 64, payloads={"w.bin": data}, verdicts=(verdict,), summary={"accuracy": 0.5})


def payload(manifest: Manifest) -> str:
    """Where its file lies, relative to the store."""
    return payload_path(manifest.payloads["w.bin"].sha256)


def race(store: ArtefactStore, contestant: Callable[[ArtefactStore, int], Any], count: int = 16) -> dict[int, Any]:
    """Number to result of `count` forked processes let loose at the same moment on a store already in use here."""
    context = multiprocessing.get_context("fork")
    results, gate = context.Queue(), context.Barrier(count)

    def run(number: int) -> None:
        store.read_or_none("warm up")
        gate.wait(30)
        results.put((number, contestant(store, number)))

    processes = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    outcomes = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(30)
    return outcomes
