"""What the methods' pages say that a method reads.

Belongs here: sharing/pages.py beyond its committed output (test_plugins.py). Does not belong: recipes.
"""

from __future__ import annotations

import dataclasses

import pytest

from dd_assets.methods.contract import Needs
from dd_assets.methods.registry import method
from dd_assets.sharing import pages


def test_every_need_has_words() -> None:
    assert {entry.name for entry in dataclasses.fields(Needs)} <= set(pages._READS)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("d4m", {"generator", "centroids"}),
        ("mgd3", {"generator", "centroids"}),
        ("dap", {"generator", "reference_latents"}),
        ("igd", {"generator", "influence"}),
        ("prism_dfkd", {"teacher", "generator", "prompts"}),
        ("cao2", {"generator", "teacher"}),
        ("d3hr", {"generator", "class_gaussians"}),
        ("bo_repulsion", {"generator", "teacher", "reference_latents"}),
        ("minimax", {"generator"}),
        ("ddps", {"real_images", "generator"}),
    ],
)
def test_a_page_names_what_the_parameters_ask_for_too(name: str, read: set[str]) -> None:
    (row,) = [line for line in pages.method_page(method(name)).splitlines() if line.startswith("| reads |")]
    assert {key for key, text in pages._READS.items() if text in row} == read
