"""Signal levels told as steps: by hand on DiT's schedule, and where a person reads them.

Belongs here: windows.py and the metadata of images. Does not belong: levels (test_levels.py).
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dd_assets.assets import synthetic_images
from dd_assets.datasets.registry import setting
from dd_assets.diffusion.windows import steps_meant
from dd_assets.methods.registry import METHODS, method
from dd_assets.planning.graph import Cell
from tests.diffusion.test_levels import DIT, _schedule

LATER_HALF = "25 of 50 steps, index 24 down to 0, t = 480 to 0"


def _meant(name: str, **changes: Any) -> dict[str, str]:
    return steps_meant(replace(method(name).recipe_for("imagenet1k").parameters, **changes), _schedule(DIT))


def test_windows_and_starts_are_told_as_the_originals_count_them() -> None:
    assert _meant("mgd3") == {"guidance": "ᾱ 0 to 0.0702: 24 of 50 steps, index 49 down to 26, t = 980 to 520"}
    assert _meant("igd")["guidance"].endswith("15 of 50 steps, index 45 down to 31, t = 900 to 620")
    # Strength .7 of Stable Diffusion is half-way on this schedule: what is left of it runs.
    (found,) = _meant("d4m").values()
    assert found.endswith(LATER_HALF)
    assert list(_meant("dap", repulsion=0.3)) == ["guidance", "repulsion"]
    assert _meant("minimax") == {}


def test_each_level_of_a_search_and_the_refinement_are_told() -> None:
    found = _meant("bo_repulsion", search_levels=(0.0946, 0.9))
    assert LATER_HALF in found["start"].split("; ")[0]
    assert len(found["start"].split("; ")) == 2
    assert _meant("cao2")["refinement"] == "ᾱ 0.6 to 1: 12 of 50 steps, index 11 down to 0, t = 220 to 0"


def test_every_generation_method_that_has_a_window_tells_it() -> None:
    for name, entry in METHODS().items():
        parameters = entry.recipe_for("digits").parameters
        levels = {field for field in vars(parameters) if field.endswith(("until", "low", "high"))}
        if entry.family == "generation" and levels - {"repulsion_until"}:
            assert "guidance" in steps_meant(parameters, _schedule(DIT)), name


def _shown(name: str, measurements: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    shard = SimpleNamespace(measurements=measurements)
    store = SimpleNamespace(lookup=lambda digest: shard, read=lambda *_: b"")
    images: Any = SimpleNamespace(sources={"shard00000": "a" * 64}, measurements={}, summary={"rows": 10})
    engine: Any = SimpleNamespace(store=store)
    monkeypatch.setattr(synthetic_images, "inline_image", lambda data: "")
    cell = Cell(setting=setting("digits"), ipc=1)
    return synthetic_images._describe(method(name), engine, cell, {"draw0": images}).get("steps_of_signal_levels")


def test_the_images_metadata_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = _meant("mgd3")
    assert _shown("mgd3", {"steps_meant": meant}, monkeypatch).data == meant
    # Shards that were made before this was noted, and methods without a generator.
    assert _shown("mgd3", {}, monkeypatch) is None
    assert _shown("rded", {"steps_meant": meant}, monkeypatch) is None
