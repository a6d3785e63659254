"""The recomputation promise on real digits: what changes is computed, nothing else, whoever launches it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from dd_assets.cli import main
from dd_assets.datasets import registry
from dd_assets.errors import InputError, VerdictError
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.planning import graph
from dd_assets.planning.plan import Target
from dd_assets.planning.run_failures import RunFailedError
from dd_assets.planning.sync import QUIET, LeftOutError, Outcome
from dd_assets.planning.unit import Manifest
from dd_assets.report.leaderboard import leaderboard_rows
from dd_assets.units import training
from dd_resources.injection import NAMESPACE
from dd_resources.store import ArtefactStore, payload_path
from tests.dagster_side.worlds import World, build

QUICK = Path(__file__).with_name("quick.yaml")
TARGETS: list[Target] = [(f"{method}/score_convnet2_w64", "quick|2") for method in ("noise", "random", "rded", "sre2l")]


@pytest.fixture(scope="module", autouse=True)
def quick_setting() -> Iterator[None]:
    """Enable the `quick` setting; partitions are made from the registry, so definitions are built after this."""
    caches = (registry.settings, graph.stages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DD_DATASETS", str(QUICK))
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The project's definitions in this process, over one store that the module's tests share."""
    import importlib

    import dd_assets.automation
    import dd_assets.partitions
    from dd_assets.assets import shell

    for module in (dd_assets.partitions, shell, dd_assets.automation):
        importlib.reload(module)
    import dd_assets.assets.dataset
    import dd_assets.assets.leaderboard
    import dd_assets.assets.score
    import dd_assets.assets.soft_labels
    import dd_assets.assets.synthetic_images
    import dd_assets.assets.teacher
    import dd_assets.definitions

    stages = dd_assets.assets
    for module in (stages.dataset, stages.teacher, stages.synthetic_images, stages.soft_labels, stages.score):
        importlib.reload(module)
    importlib.reload(dd_assets.definitions)
    return build(str(tmp_path_factory.mktemp("shared") / "store"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, definitions: dg.Definitions) -> Path:
    """A store in which TARGETS are complete; tests work on copies."""
    root = tmp_path_factory.mktemp("finished") / "store"
    world = World(ArtefactStore(str(root)).open(), dg.DagsterInstance.ephemeral(), build(str(root)))
    outcome = world.sync(TARGETS)
    assert outcome.count("computed") == 2 + 3 * 4
    return root


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> World:
    """A fresh Dagster instance over a copy of the finished store."""
    root = tmp_path / "store"
    shutil.copytree(finished, root)
    return World(ArtefactStore(str(root)).open(), dg.DagsterInstance.ephemeral(), build(str(root)))


def words(outcome: Outcome) -> set[str]:
    return set(outcome.lines.values())


def test_a_fresh_instance_adopts_everything_and_then_reuses_it(world: World) -> None:
    assert words(world.sync(TARGETS)) == {"adopted"}
    for asset, partition in [("dataset", "quick"), *TARGETS]:
        key = dg.AssetKey(asset.split("/"))
        records = world.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=5
        ).records
        assert len(records) == 1
        assert "content_digest" in records[0].asset_materialization.metadata
    again = world.sync(TARGETS)
    assert (words(again), again.heavy_calls) == ({"reused"}, 0)


def test_side_by_side_everything_is_computed_once_and_recorded_by_its_own_run(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    world = World(ArtefactStore(str(root)).open(), dg.DagsterInstance.ephemeral(), build(str(root)), workers=2)
    outcome = world.sync(TARGETS)
    assert words(outcome) == {"computed"}
    made, alone = (_contents(ArtefactStore(str(path)).open()) for path in (root, finished))
    assert made == alone
    # The leaderboard is no part of it.
    assert outcome.heavy_calls == len(made)
    runs = world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
    recorded = {key for run in runs for key in run.asset_selection or ()}
    assert {dg.AssetKey(asset.split("/")) for asset, _ in outcome.lines} <= recorded
    again = world.sync(TARGETS)
    assert (words(again), again.heavy_calls) == ({"reused"}, 0)


STEP_ALLOWANCE = 0.12
"""CPU-seconds that a step may take beyond Dagster's own when all it asks for is stored; .05 as measured."""


def test_a_reused_step_costs_little_more_than_one_that_does_nothing(world: World) -> None:
    assets = [f"rded/{noun}" for noun in ("synthetic_images", "soft_labels", "score_convnet2_w64")]
    world.sync(TARGETS)
    ours = world.definitions.resolve_job_def("rded_job")
    keys = [dg.AssetKey(asset.split("/")) for asset in assets]

    def idle(name: str, before: list[str]) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=before, partitions_def=dg.StaticPartitionsDefinition(["quick|2"]))
        def nothing() -> None: ...

        return nothing

    chain = [idle(f"step{place}", [f"step{place - 1}"] if place else []) for place in range(len(assets))]
    bare = dg.Definitions(assets=chain, jobs=[dg.define_asset_job("bare", chain)]).resolve_job_def("bare")

    def cpu_seconds(job: dg.JobDefinition, selection: list[dg.AssetKey] | None) -> float:
        began = time.process_time()
        done = job.execute_in_process(
            partition_key="quick|2", instance=world.instance, asset_selection=selection, run_config=QUIET
        )
        spent = time.process_time() - began
        origins = [event.materialization.metadata.get("origin") for event in done.get_asset_materialization_events()]
        assert len(origins) == len(assets)
        assert selection is None or {origin.value for origin in origins if origin is not None} == {"reused"}
        return spent / len(assets)

    # In turns, so that a busy minute of the machine falls on both; the first pair is not counted.
    pairs = [(cpu_seconds(bare, None), cpu_seconds(ours, keys)) for _ in range(6)][1:]
    alone, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert whole - alone <= STEP_ALLOWANCE, f"a step of Dagster's {alone:.3f} CPU-s, a reused one {whole:.3f}"


def _contents(store: ArtefactStore) -> dict[str, str]:
    """Recipe digest to content digest of every unit but the leaderboard."""
    digests = [path.rsplit("/", 1)[-1][:-5] for path in store.list("manifests")]
    found = {digest: store.lookup(digest) for digest in digests}
    return {d: m.content for d, m in found.items() if m is not None and m.recipe["unit"] != "leaderboard"}


def descendants(method: str) -> set[Target]:
    return {(f"{method}/{noun}", "quick|2") for noun in ("synthetic_images", "soft_labels", "score_convnet2_w64")}


CHANGES = {
    "noise": {"std": 0.5},
    "random": None,
    "rded": {"num_crops": 3},
    "sre2l": {"iterations": 20},
}


def changed(method: Method, change: dict[str, object] | None) -> Method:
    """The method with another parameter, or with another version where it has none."""
    if change is None or not hasattr(method.recipe_for("digits").parameters, next(iter(change))):
        return dataclasses.replace(method, version=method.version + 1)
    recipe = method.recipe_for("digits")
    edited = dataclasses.replace(recipe, parameters=dataclasses.replace(recipe.parameters, **change))
    return dataclasses.replace(method, recipes={**method.recipes, "digits": edited})


@contextmanager
def editing(changes: dict[str, dict[str, object] | None]) -> Iterator[None]:
    """Inside, these methods have other parameters or another version."""
    from dd_assets.units import kinds

    edited = {**METHODS(), **{name: changed(METHODS()[name], change) for name, change in changes.items()}}
    with pytest.MonkeyPatch.context() as patch:
        for place in ("dd_assets.methods.registry.METHODS", "dd_assets.planning.graph.METHODS"):
            patch.setattr(place, lambda: edited)
        patch.setattr("dd_assets.planning.plan.method", lambda wanted: edited[wanted])
        for cache in (graph.stages, kinds.kinds):
            cache.cache_clear()
        yield
    for cache in (graph.stages, kinds.kinds):
        cache.cache_clear()


def test_what_is_refused_side_by_side_fails_in_its_own_run_and_holds_up_nothing_but_what_reads_it(world: World) -> None:
    world.workers = 2
    with editing({"noise": {"std": 0.5}, "sre2l": {"learning_rate": 1e30, "r_bn": 1e38}}):
        with pytest.raises(LeftOutError) as error:
            world.sync([*reversed(TARGETS)])
        plan = world.plan(TARGETS)
    refused, score = "sre2l/synthetic_images [quick|2]", "sre2l/score_convnet2_w64 [quick|2]"
    assert error.value.problem == f"refused: {refused}; left out because of it: {score}"
    assert [plan[target] for target in TARGETS[:3]] == ["fresh"] * 3
    assert len(world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))) == 1


@pytest.mark.parametrize("name", list(CHANGES))
def test_changing_one_method_recomputes_exactly_its_descendants(world: World, name: str) -> None:
    world.sync(TARGETS)
    with editing({name: CHANGES[name]}):
        stale = {target for target, status in world.plan(TARGETS).items() if status != "fresh"}
        assert stale == descendants(name)
        outcome = world.sync(TARGETS)
    assert {target for target, word in outcome.lines.items() if word == "computed"} <= descendants(name)
    assert (f"{name}/synthetic_images", "quick|2") in {t for t, word in outcome.lines.items() if word == "computed"}


def test_deleting_one_training_recomputes_only_that(world: World) -> None:
    world.sync(TARGETS)
    reference = world.store.read_reference(NAMESPACE, "rded/score_convnet2_w64", "quick|2")
    assert reference is not None
    digest = reference.units["hard/draw1/seed1"]
    before = world.store.lookup(digest)
    assert before is not None
    world.store.discard(before)
    outcome = world.sync(TARGETS)
    assert outcome.heavy_calls == 1
    after = world.store.lookup(digest)
    assert after is not None
    assert after.content == before.content


def flip_a_byte(store: ArtefactStore, manifest: Manifest, name: str) -> None:
    path = Path(store.root, payload_path(manifest.payloads[name].sha256))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_byte_is_named_then_quarantined_then_recomputed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sync(TARGETS)
    images = world.store.read_reference(NAMESPACE, "random/synthetic_images", "quick|2")
    score = world.store.read_reference(NAMESPACE, "random/score_convnet2_w64", "quick|2")
    assert images is not None
    assert score is not None
    broken = world.store.lookup(images.units["draw0"])
    training_manifest = world.store.lookup(score.units["hard/draw0/seed0"])
    assert broken is not None
    assert training_manifest is not None
    flip_a_byte(world.store, broken, "images.parquet")
    world.store.discard(training_manifest)
    with pytest.raises(
        RunFailedError, match=r"random/synthetic_images quick\|2.*images\.parquet.*corrupted"
    ) as failure:
        world.sync(TARGETS)
    assert world.store.lookup(broken.recipe_digest) == broken, "nothing goes unless it is asked for"
    named = re.search(r"dd-assets discard ([0-9a-f]{12})", str(failure.value))
    assert named is not None
    monkeypatch.setenv("DD_STORE", world.store.root)
    done = CliRunner().invoke(main, ["discard", named[1]], catch_exceptions=False)
    assert done.output == f"discarded {broken.label} ({broken.recipe_digest[:12]})\n"
    (moved,) = world.store.list("quarantine")
    assert moved.startswith(f"quarantine/{broken.payloads['images.parquet'].sha256}-")
    assert world.plan(TARGETS)[("random/synthetic_images", "quick|2")] == "stale"
    outcome = world.sync(TARGETS)
    again = world.store.lookup(broken.recipe_digest)
    assert again is not None
    assert again.content == broken.content
    assert world.store.read(again, "images.parquet")
    # The set is joined again and the one training that was discarded is repeated; every other partition is reused.
    assert outcome.heavy_calls == 2
    assert {target for target, word in outcome.lines.items() if word == "computed"} == {
        ("random/synthetic_images", "quick|2"),
        ("random/score_convnet2_w64", "quick|2"),
    }
    assert set(world.plan(TARGETS).values()) == {"fresh"}


def test_ipc_above_the_class_size_is_refused_before_the_teacher_trains(
    tmp_path: Path, definitions: dg.Definitions
) -> None:
    root = str(tmp_path / "store")
    world = World(ArtefactStore(root).open(), dg.DagsterInstance.ephemeral(), build(root))
    with pytest.raises(InputError, match=r"random/.*quick\|200.* is blocked: .*1\d\d"):
        world.sync([("random/score_convnet2_w64", "quick|200")], strict=True)
    kinds_made = {path.split("/")[-1] for path in world.store.list("references")}
    assert kinds_made == {"quick.json"}
    assert not [path for path in world.store.list("references") if "teacher" in path]


def test_leaderboard_rows_carry_the_contract_fields(world: World) -> None:
    rows = leaderboard_rows(world.store, NAMESPACE)
    fields = {"dataset", "ipc", "method", "student", "label", "protocol", "accuracy_mean", "accuracy_std", "draws"}
    fields |= {"seeds", "best_mean", "synthesis_seconds", "image_bytes", "label_bytes", "published"}
    assert len(rows) == 8
    assert all(fields <= row.keys() for row in rows)
    assert {row["draws"] for row in rows if row["method"] == "sre2l"} == {1}
    assert {row["draws"] for row in rows if row["method"] == "rded"} == {3}
    assert {row["seeds"] for row in rows} == {3}
    assert all(row["published"] is None for row in rows)


def test_overridden_parameters_enter_the_recipe_and_are_marked(world: World) -> None:
    world.sync(TARGETS)
    result = world.definitions.resolve_job_def("sre2l_job").execute_in_process(
        partition_key="quick|2",
        instance=world.instance,
        asset_selection=[dg.AssetKey(["sre2l", "synthetic_images"])],
        run_config={"ops": {"sre2l__synthetic_images": {"config": {"parameters": {"iterations": 5}}}}},
    )
    assert result.success
    reference = world.store.read_reference(NAMESPACE, "sre2l/synthetic_images", "quick|2")
    assert reference is not None
    assert not reference.declared
    assert world.plan(TARGETS)[("sre2l/synthetic_images", "quick|2")] == "stale"


def test_an_unknown_override_is_one_clear_line(world: World) -> None:
    world.sync(TARGETS)
    job = world.definitions.resolve_job_def("noise_job")
    result = job.execute_in_process(
        partition_key="quick|2",
        instance=world.instance,
        asset_selection=[dg.AssetKey(["noise", "synthetic_images"])],
        run_config={"ops": {"noise__synthetic_images": {"config": {"parameters": {"no_such": 1}}}}},
        raise_on_error=False,
    )
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "unknown parameter of noise 'no_such'" in str(failure.step_failure_data.user_failure_data)


def test_a_teacher_below_its_floor_is_stored_and_refused(
    tmp_path: Path, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "store")
    world = World(ArtefactStore(root).open(), dg.DagsterInstance.ephemeral(), build(root))
    chosen = registry.settings()["quick"]
    recipe = dataclasses.replace(chosen.teacher.recipe, epochs=1, accuracy_floor=0.999)
    weak = dataclasses.replace(chosen, teacher=dataclasses.replace(chosen.teacher, recipe=recipe))
    monkeypatch.setitem(registry.settings(), "quick", weak)
    codes = []
    for kind in (RunFailedError, VerdictError):
        # The run that makes it ends as every later one that would use it.
        with pytest.raises(kind, match=r"accuracy_above_floor.*floor 99\.90%") as refused:
            world.sync([("rded/score_convnet2_w64", "quick|1")])
        codes.append(refused.value.exit_code)
    assert codes == [VerdictError.exit_code] * 2
    for _ in range(2):
        with pytest.raises(LeftOutError, match=r"refused: teacher \[quick\]; left out.*: rded/score_convnet2_w64"):
            world.sync([("rded/score_convnet2_w64", "quick|1"), ("noise/synthetic_images", "quick|1")])
        assert world.plan([("noise/synthetic_images", "quick|1")])[("noise/synthetic_images", "quick|1")] == "fresh"
    assert world.store.read_reference(NAMESPACE, "teacher", "quick") is not None


def test_students_start_alike_for_every_method(world: World) -> None:
    units = []
    for method in ("noise", "rded"):
        reference = world.store.read_reference(NAMESPACE, f"{method}/score_convnet2_w64", "quick|2")
        assert reference is not None
        manifest = world.store.lookup(reference.units["hard/draw1/seed1"])
        assert manifest is not None
        units.append(manifest.recipe)
    assert units[0]["seed"] == units[1]["seed"] == 1
    assert units[0]["parameters"] == units[1]["parameters"]
    assert training.SCORE == "score.parquet"
