"""The nightly schedules: a run for exactly what is stale and what waits for nothing but that, else a reason to skip."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import dagster as dg

from dd_assets.automation import build_schedules, nightly_assets
from dd_assets.definitions import defs
from dd_assets.methods.registry import METHODS
from dd_assets.planning import graph
from dd_assets.planning.cells import STUDIES
from dd_resources.injection import RawDataResource, StoreResource
from tests.planning.tiny import Edit, Tiny, in_chain, method, setting, with_parameter, write_image, write_weights


def night(tiny: Tiny, name: str) -> dict[str, set[str]] | str:
    """What a schedule asks for: partition to assets, or why it asks for nothing."""
    (schedule,) = [entry for entry in build_schedules() if entry.name == f"{name}_nightly"]
    resources = {"store": StoreResource(root=tiny.store.root), "raw_data": RawDataResource(root=str(tiny.data))}
    when = datetime(2026, 11, 21, 2, tzinfo=UTC)
    with dg.build_schedule_context(resources=resources, scheduled_execution_time=when) as context:
        asked = schedule(context)
    if isinstance(asked, dg.SkipReason):
        return str(asked.skip_message)
    assert all(request.run_key == f"{name}_job/2026-11-21/{request.partition_key}" for request in asked)
    return {request.partition_key: set(filter(in_chain, map(_name, request.asset_selection))) for request in asked}


def _name(key: dg.AssetKey) -> str:
    return "/".join(key.path)


NOISE = {"noise/synthetic_images", "noise/soft_labels", "noise/score_convnet2_w64"}


def test_every_schedule_skips_when_nothing_is_stale(tiny: Tiny) -> None:
    # What was never made is not stale: the schedule keeps results up to date, it does not begin new ones.
    for schedule in build_schedules():
        reason = night(tiny, schedule.name.removesuffix("_nightly"))
        assert isinstance(reason, str), reason
        assert reason.startswith("none of ")
        assert reason.endswith(" asset partitions is stale")


def test_a_stale_cell_is_asked_for_with_what_is_below_it(tiny: Tiny, edit: Edit) -> None:
    edit(with_parameter(method("noise"), sigma=0.5))
    assert night(tiny, "noise") == {"tiny|1": NOISE, "tiny|2": NOISE}
    assert isinstance(night(tiny, "random"), str)
    assert isinstance(night(tiny, "datasets"), str)


def test_only_the_stale_half_of_a_cell_is_asked_for(tiny: Tiny) -> None:
    reference = tiny.store.read_reference("default", "noise/score_convnet2_w64", "tiny|2")
    assert reference is not None
    manifest = tiny.store.lookup(reference.units["hard/draw0/seed0"])
    assert manifest is not None
    tiny.store.discard(manifest)
    assert night(tiny, "noise") == {"tiny|2": {"noise/score_convnet2_w64"}}


def test_what_waits_for_another_job_is_left_to_the_night_after(tiny: Tiny, edit: Edit) -> None:
    write_weights(tiny.data, seed=1)
    edit(dataclasses.replace(method("noise"), version=2))
    # The tables read images and teacher; computing them tonight would use the teacher of yesterday.
    assert night(tiny, "noise") == {"tiny|1": {"noise/synthetic_images"}, "tiny|2": {"noise/synthetic_images"}}
    assert night(tiny, "datasets") == {"tiny": {"teacher"}}
    tiny.make([("teacher", "tiny")])
    assert night(tiny, "noise") == {"tiny|1": NOISE, "tiny|2": NOISE}


def test_what_is_stale_itself_waits_for_another_jobs_assets_too(tiny: Tiny, edit: Edit) -> None:
    """A teacher that is in the store already, but that no reference names yet: tonight's run would read the old one."""
    write_weights(tiny.data, seed=1)
    tiny.make()
    write_weights(tiny.data, seed=0)
    edit(dataclasses.replace(method("noise"), version=2))
    assert night(tiny, "datasets") == {"tiny": {"teacher"}}
    assert night(tiny, "noise") == {"tiny|1": {"noise/synthetic_images"}, "tiny|2": {"noise/synthetic_images"}}
    edit(dataclasses.replace(method("noise"), version=1), protocol=dataclasses.replace(setting().protocol, epochs=3))
    assert isinstance(night(tiny, "noise"), str)
    tiny.make([("teacher", "tiny")])
    assert "noise/score_convnet2_w64" in night(tiny, "noise")["tiny|1"]


def test_a_changed_dataset_brings_its_teacher_along(tiny: Tiny) -> None:
    write_image(tiny.data, "train", "ant", 0, 200)
    assert night(tiny, "datasets") == {"tiny": {"dataset", "teacher"}}
    assert isinstance(night(tiny, "noise"), str)


def test_every_asset_but_studies_is_in_one_nightly_list_and_in_that_job() -> None:
    listed = [asset for assets in nightly_assets().values() for asset in assets]
    assert sorted(listed) == sorted(asset for asset, stage in graph.stages().items() if stage.group != STUDIES)
    for job, assets in nightly_assets().items():
        selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
        assert {dg.AssetKey(asset.split("/")) for asset in assets} <= selected, job


def test_every_method_has_a_schedule() -> None:
    assert {f"{name}_job" for name in (*METHODS(), "datasets")} <= {entry.job_name for entry in build_schedules()}
