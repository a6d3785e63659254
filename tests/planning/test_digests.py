"""Digests depend on meaning alone, and their present values are pinned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dd_assets.planning.digests import ContentHasher, canonical_json, text_digest
from dd_assets.planning.unit import Reference, Unit


@dataclass(frozen=True)
class _Parameters:
    rate: float
    sizes: tuple[int, ...]


def test_golden_digests_do_not_move() -> None:
    # A change here makes every stored result of every user new: raise DIGEST_VERSION and say so in the CHANGELOG.
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    content = ContentHasher("images").array("images", images).value("classes", ["a", "b"]).hexdigest()
    unit = Unit(name="images/x", version=1, parameters={"rate": 0.1, "n": 3}, inputs={"teacher": "00"}, seed=7)
    assert content == GOLDEN_CONTENT
    assert unit.digest == GOLDEN_RECIPE


GOLDEN_CONTENT = "d3c5f876fc9f8703e75f770b69c4a6c421a15a7419f8367071e7425039e4e3aa"
GOLDEN_RECIPE = "e08baf40878d86d5981b8d3f09235e45897d6bbb91ac09fdf2ca1a4b4a87d977"


def test_order_of_parts_and_memory_layout_do_not_matter() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    one = ContentHasher("x").array("a", values).value("b", 1).hexdigest()
    two = ContentHasher("x").value("b", 1).array("a", np.asfortranarray(values)).hexdigest()
    big_endian = ContentHasher("x").array("a", values.astype(">f4")).value("b", 1).hexdigest()
    assert one == two == big_endian


@pytest.mark.parametrize(
    "other",
    [
        np.arange(12, dtype=np.float64).reshape(3, 4),
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(12, dtype=np.float32).reshape(3, 4) + np.float32(1e-6),
        np.array(1.0, dtype=np.float32),
        np.array([1.0], dtype=np.float32),
    ],
)
def test_dtype_shape_and_values_matter(other: np.ndarray) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert ContentHasher("x").array("a", values).hexdigest() != ContentHasher("x").array("a", other).hexdigest()


def test_the_kind_and_the_name_matter_and_names_are_unique() -> None:
    values = np.zeros(2)
    assert ContentHasher("x").array("a", values).hexdigest() != ContentHasher("y").array("a", values).hexdigest()
    assert ContentHasher("x").array("a", values).hexdigest() != ContentHasher("x").array("b", values).hexdigest()
    with pytest.raises(ValueError, match="twice"):
        ContentHasher("x").array("a", values).value("a", 1)


def test_canonical_json_reads_dataclasses_and_refuses_what_has_no_one_spelling() -> None:
    assert canonical_json(_Parameters(0.1, (1, 2))) == '{"rate":0.1,"sizes":[1,2]}'
    for bad in (float("nan"), object(), {1, 2}):
        with pytest.raises(TypeError):
            canonical_json(bad)


def test_where_a_unit_came_from_is_not_in_its_recipe() -> None:
    base = Unit(name="teacher", version=1, parameters={}, inputs={"dataset": "d"})
    renamed = Unit(
        name="teacher",
        version=1,
        parameters={},
        inputs={"dataset": "d"},
        sources={"dataset": "elsewhere"},
        setting="alias",
        label="another asset",
    )
    assert base.digest == renamed.digest
    for change in ({"version": 2}, {"seed": 1}, {"parameters": {"a": 1}}, {"inputs": {"dataset": "e"}}):
        fields = {"name": "teacher", "version": 1, "parameters": {}, "inputs": {"dataset": "d"}, **change}
        assert Unit(**fields).digest != base.digest


def test_a_reference_keeps_content_and_recipe_apart() -> None:
    one = Reference(asset="teacher", partition="digits", units={"teacher": "r1"}, contents={"teacher": "c"})
    two = Reference(asset="renamed", partition="alias", units={"teacher": "r2"}, contents={"teacher": "c"})
    assert one.content == two.content
    assert one.recipe != two.recipe
    assert Reference.from_json(one.to_json()) == one
    assert text_digest([1]) != text_digest([1.5])
