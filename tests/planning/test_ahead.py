"""Computing ahead with several workers: what would not fit beside others is left to its own run, which refuses it."""

from __future__ import annotations

import pytest

from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import tune_variant
from dd_assets.errors import InputError
from dd_assets.planning import committees, memory
from dd_assets.planning.ahead import compute_ahead
from dd_assets.planning.engine import Engine, MissingUnits
from dd_assets.planning.graph import Cell, stages
from dd_assets.planning.memory import PROCESS
from dd_assets.planning.plan import Planner, input_target
from dd_assets.planning.unit import Manifest, Product, Unit
from dd_resources.compute import Compute
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.planning.tiny import Edit, Tiny, method, with_parameter

TWO = Compute(device="cpu", workers=2)


def begun_ahead(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Kinds of the units that two workers would be given of the targets that lack something; none is computed."""
    raw = RawData(str(tiny.data))
    planner, engine = Planner(Engine(tiny.store, raw, TWO, look_only=True), NAMESPACE), Engine(tiny.store, raw, TWO)
    begun: list[Unit] = []
    monkeypatch.setattr(engine, "run", begun.extend)
    compute_ahead(planner, engine, [("noise/synthetic_images", "tiny|1"), ("random/soft_labels", "tiny|1")])
    return {unit.name for unit in begun}


def test_what_two_workers_have_no_memory_for_is_left_to_its_run(
    tiny: Tiny, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(with_parameter(method("noise"), sigma=0.5), trainings=4)
    # Two processes that have loaded torch, and the tenth that stays free.
    monkeypatch.setattr(memory, "free_memory", lambda device: int(2.3 * PROCESS))
    assert begun_ahead(tiny, monkeypatch) == {"images/noise", "labels"}
    monkeypatch.setattr(memory, "free_memory", lambda device: 2 * PROCESS)
    assert begun_ahead(tiny, monkeypatch) == {"labels"}
    stage, cell = stages()["noise/synthetic_images"], Cell.of("tiny|1")
    targets = {name: input_target(name, cell) for name in stage.reads(cell)}
    inputs = {
        name: found for name, target in targets.items() if (found := tiny.store.read_reference(NAMESPACE, *target))
    }
    with pytest.raises(InputError, match=r"noise on tiny\|1 needs about 0\.8 GB, 0\.8 GB are free"):
        stage.resolve(cell, inputs, Engine(tiny.store, RawData(str(tiny.data)), TWO))


def stored(store: ArtefactStore, name: str, **summary: object) -> Manifest:
    """A stored unit of that kind."""
    unit = Unit(name=name, version=1, parameters={}, inputs={})
    return store.commit(unit, Product(content=name, payloads={}, summary=summary), {})


def test_the_images_behind_a_prior_are_weighed_too(store: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = tune_variant(setting("digits"))
    source = stored(store, "dataset", train_counts=[100] * len(tuned.classes))
    given = (committees.PRIOR_METHOD, tuned, source, stored(store, "teacher"))
    monkeypatch.setattr(memory, "free_memory", lambda device: PROCESS)
    with pytest.raises(InputError, match=rf"priors of {tuned.name}: \w+ needs about .* GB"):
        committees._distilled(*given, Engine(store, RawData(), TWO))
    looking = Engine(store, RawData(), TWO, look_only=True)
    with pytest.raises(MissingUnits) as missing:
        committees._distilled(*given, looking)
    assert missing.value.units
    assert all(looking.peaks[unit.digest] > PROCESS for unit in missing.value.units)
