"""Names that no method may have: jobs, schedules and groups of the graph have them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import dagster as dg
import pytest

from dd_assets.automation import build_jobs
from dd_assets.errors import InputError
from dd_assets.methods import registry
from dd_assets.planning.graph import stages
from dd_assets.sharing.scaffold import new_method


def test_the_reserved_names_are_those_of_jobs_and_groups() -> None:
    jobs = {job.name.removesuffix("_job") for job in build_jobs(dg.in_process_executor)}
    groups = {stage.group for stage in stages().values()}
    assert (jobs | groups) - registry.METHODS().keys() == set(registry.RESERVED)


@pytest.mark.parametrize("name", registry.RESERVED)
def test_a_method_of_a_reserved_name_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster ended in a traceback, "Duplicate definition found for unresolved job"."""
    words = f"no method can be called '{name}'"
    with pytest.raises(InputError, match=words):
        new_method(name, str(tmp_path / "package"))
    assert not (tmp_path / "package").exists()
    taken = dataclasses.replace(registry.method("random"), name=name)
    monkeypatch.setattr(registry, "_declared", lambda: iter([("a plug-in", taken)]))
    with pytest.raises(InputError, match=f"a plug-in: {words}.* → "):
        registry.METHODS.__wrapped__()
    monkeypatch.undo()
    (tmp_path / "mine.yaml").write_text(f"name: {name}\nbase: random\nparameters: {{}}\n")
    monkeypatch.setenv("DD_RECIPES", str(tmp_path))
    with pytest.raises(InputError, match=words):
        registry.METHODS.__wrapped__()
