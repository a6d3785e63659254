"""Shards of images: what they are told comes from their recipe alone."""

from __future__ import annotations

from dd_assets.datasets.registry import setting
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Unit
from dd_assets.units import images
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore


def test_facts_are_those_of_the_recipe_whatever_the_settings_file_says_now(store: ArtefactStore) -> None:
    """A worker, or another machine, reads settings of its own: its bits would stand under this recipe's digest."""
    digits = setting("digits")
    stated = {
        "classes": list("0123456789"),
        "size": 8,
        "channels": 1,
        "hflip": False,
        "normalisation": {"mean": [0.123], "std": [0.456]},
    }
    assert digits.normalisation.mean != (0.123,)
    unit = Unit(name="images/noise", version=1, parameters={"facts": stated}, inputs={}, setting="digits")
    facts = images._facts(unit, Work(store=store, raw=RawData(), device="cpu", unit=unit))
    assert (facts.normalisation.mean, facts.normalisation.std) == ((0.123,), (0.456,))
    # Not even that there is such a setting here.
    elsewhere = Unit(name="images/noise", version=1, parameters={"facts": stated}, inputs={}, setting="not-here")
    assert images._facts(elsewhere, Work(store=store, raw=RawData(), device="cpu", unit=elsewhere)).size == 8
