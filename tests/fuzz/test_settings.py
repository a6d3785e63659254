"""What users write by hand: settings, recipes, studies, partition keys: success, or one of our errors."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dd_assets.datasets.user_settings import read_settings
from dd_assets.methods.contract import with_overrides
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell
from dd_assets.studies.registry import FOLDER, read_study
from tests.fuzz.inputs import TEXTS, VALUES, altered, examples, judged, spoiled

OWN = Path(__file__).parents[1] / "faults" / "campaign.yaml"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that every example writes over."""
    return tmp_path_factory.mktemp("fuzz") / "own.yaml"


@cache
def own() -> dict[str, Any]:
    return {"tried": yaml.safe_load(OWN.read_text("utf-8"))["tried"], "next": {"base": "digits", "tune": True}}


def as_yaml(value: Any) -> bytes:
    """YAML, or its JSON subset's nearest text where a value has none."""
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


@given(altered(own()).map(as_yaml) | spoiled(as_yaml(own())))
@examples(8_000)
def test_settings(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    judged("user settings", lambda: read_settings(path))


@cache
def study() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "rd3_table_6.yaml").read_text("utf-8"))


@given(altered(study()).map(as_yaml) | spoiled(as_yaml(study())))
@examples(5_000)
def test_studies(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    judged("studies", lambda: read_study(path))


@given(st.sampled_from(sorted(METHODS())), st.dictionaries(TEXTS, VALUES, max_size=2), st.data())
@examples(8_000)
def test_recipes(name: str, values: dict[str, Any], data: st.DataObject) -> None:
    parameters = METHODS()[name].recipe_for("default").parameters
    known = sorted(parameters.__dataclass_fields__)
    if known:
        values = {**values, data.draw(st.sampled_from(known)): data.draw(VALUES)}
    found = judged("recipes", lambda: with_overrides(parameters, values, name))
    assert found is None or type(found) is type(parameters)


@given(TEXTS | st.builds("digits|{}".format, TEXTS | st.integers() | st.text(st.sampled_from("0１²١ |"), max_size=5)))
@examples(8_000)
def test_partition_keys(text: str) -> None:
    found = judged("partition keys", lambda: Cell.of(text))
    assert found is None or found.partition == text
