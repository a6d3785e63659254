"""Parameters set in a launch: where they belong, when they count, what a plan says of what they left behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dd_assets.errors import InputError, UnknownNameError
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, require_parameters_taken, resolved, stages
from dd_assets.planning.plan import Planner, Target
from dd_resources.compute import Compute
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from tests.planning.tiny import Tiny

IMAGES: Target = ("noise/synthetic_images", "tiny|1")
SCORE: Target = ("noise/score_convnet2_w64", "tiny|1")


@pytest.mark.parametrize(
    ("asset", "partition", "belongs"),
    [
        ("dataset", "digits", "the setting's fields (docs/datasets.md)"),
        ("noise/soft_labels", "digits|1", "teacher, noise/synthetic_images"),
        ("noise/score_convnet2_w64", "digits|1", "teacher, noise/synthetic_images"),
        ("noise/diversity", "digits|1", "teacher, noise/synthetic_images"),
        ("statistics", "digits", "committee"),
        ("class_centroids", "digits|1", "generator_small"),
        ("reference_latents", "digits|1", "generator_small"),
        ("class_gaussians", "digits", "generator_small"),
        ("prompt_bank", "digits", "the setting's fields (docs/datasets.md)"),
        ("generator_pretrained", "digits", "teacher"),
        ("studies/rd3_table_6", "digits|1", "a study's variants (dd_assets/studies)"),
    ],
)
def test_what_takes_no_parameters_refuses_them_and_names_where_they_belong(
    asset: str, partition: str, belongs: str
) -> None:
    stage = stages()[asset]
    require_parameters_taken(stage, Cell.of(partition))
    with pytest.raises(InputError) as refused:
        require_parameters_taken(stage, Cell.of(partition, {"iterations": 3}))
    assert refused.value.problem == f"{asset} takes no parameters, but iterations was given"
    assert belongs in refused.value.remedy


@pytest.mark.parametrize(
    "asset", ["teacher", "committee", "priors", "influence", "generator_small", "sre2l/synthetic_images"]
)
def test_what_has_a_recipe_takes_parameters(asset: str) -> None:
    stage = stages()[asset]
    require_parameters_taken(stage, Cell.of("digits" if stage.space == "dataset" else "digits|1", {"iterations": 3}))


def test_a_launch_ends_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dd_assets.assets import dataset
    from dd_resources.injection import default_resources

    monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
    done = dg.materialize(
        dataset.build(),
        partition_key="digits",
        resources=default_resources(),
        run_config={"ops": {"dataset": {"config": {"parameters": {"size": 3}}}}},
        raise_on_error=False,
    )
    assert not done.success
    (failed,) = done.filter_events(lambda event: event.is_step_failure)
    assert "dataset takes no parameters, but size was given" in str(failed.step_failure_data.error)
    assert not (tmp_path / "store").exists()


def test_priors_name_the_parameter_that_they_have(tiny: Tiny) -> None:
    with pytest.raises(UnknownNameError, match="unknown parameter of priors 'sourc' → did you mean 'source'"):
        stages()["priors"].resolve(Cell.of("tiny", {"sourc": "equal"}), {}, Engine(tiny.store, RawData("")))


def _resolved(tiny: Tiny, **overrides: Any) -> bool:
    engine = Engine(tiny.store, RawData(str(tiny.data)), Compute(device="cpu", workers=1))
    source = tiny.store.read_reference(NAMESPACE, "dataset", "tiny")
    assert source is not None
    made = resolved(stages()[IMAGES[0]], Cell.of(IMAGES[1], overrides), {"dataset": source}, engine)
    return made.declared


def test_the_declared_value_stated_again_is_no_override(tiny: Tiny) -> None:
    assert _resolved(tiny)
    assert _resolved(tiny, sigma=1)
    assert not _resolved(tiny, sigma=0.5)


def test_what_is_marked_as_overridden_is_stale_whatever_it_holds(tiny: Tiny) -> None:
    """Before parameters were refused where none are taken, such a score was out of the ranking and called fresh."""
    marked = tiny.store.read_reference(NAMESPACE, *SCORE)
    assert marked is not None
    tiny.store.write_reference(NAMESPACE, dataclasses.replace(marked, declared=False))
    planner = Planner(Engine(tiny.store, RawData(str(tiny.data)), look_only=True), NAMESPACE)
    row = planner.visit(SCORE)
    assert (row.status, row.reason) == (
        "stale",
        "it is marked as made with overridden parameters; results of the declared recipe are in the store already",
    )
    assert row.seconds_estimate == 0
    assert planner.visit(IMAGES).status == "fresh"
