"""Names of partitions: what a key stands for, and what is said of one that is none."""

from __future__ import annotations

import dataclasses

import pytest
from click.testing import CliRunner

from dd_assets.cli import main
from dd_assets.datasets import registry
from dd_assets.errors import UnknownNameError
from dd_assets.planning.graph import Cell
from tests.planning.tiny import Tiny, forget_graph


@pytest.mark.parametrize("name", ["tiny-64", "tiny.2"])
def test_a_setting_may_be_called_like_a_dataset_and_a_number(
    name: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted, and then no command worked."""
    monkeypatch.setitem(registry.settings(), name, dataclasses.replace(registry.settings()["tiny"], name=name))
    forget_graph()
    assert (Cell.of(name).setting.name, Cell.of(f"{name}|2").ipc) == (name, 2)
    done = CliRunner().invoke(main, ["plan", "--partition", name, "--select", "key:dataset", "--json"])
    assert done.exit_code == 0, done.output
    assert name in done.output


@pytest.mark.parametrize("written", ["digits-10", "digits 10", "digits,10"])
def test_a_dataset_and_an_ipc_joined_otherwise_are_still_named(written: str) -> None:
    with pytest.raises(UnknownNameError, match=r"write it as 'digits\|10', in quotes"):
        Cell.of(written)


def test_a_study_of_a_variant_that_is_not_enabled_is_one_line() -> None:
    """It was a traceback of Dagster's, which knows no such partition."""
    for option in ((), ("--plan",)):
        done = CliRunner().invoke(main, ["study", "rd3_table_6", "--dataset", "digits_tune", *option])
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.splitlines()
        assert line.startswith("dd-assets: dataset 'digits_tune' is not enabled → ")
        assert "`tune: true`" in line
