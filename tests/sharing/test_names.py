"""What an export and the library say without a computed cell: size classes, settings that are not enabled."""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_assets.errors import UnknownNameError
from dd_assets.sharing.export import size_category
from dd_assets.sharing.library import Library


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (99_999, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
        (10_000_000, "10M<n<100M"),
        (100_000_000, "100M<n<1B"),
        (2_000_000_000, "1B<n<10B"),
    ],
)
def test_a_card_states_hugging_faces_class_of_the_size(rows: int, name: str) -> None:
    assert size_category(rows) == name


def test_of_a_variant_that_is_not_enabled_the_remedy_is_the_setting(tmp_path: Path) -> None:
    """It named a sync that could not work."""
    with pytest.raises(UnknownNameError, match=r"dataset 'digits_tune' is not enabled → .*`tune: true`"):
        Library(str(tmp_path / "store")).image_set("random", "digits_tune", 1)
