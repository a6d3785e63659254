"""DAP's figures of a study's image sets: which measures a row has, what diversity is relative to, what is drawn."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.planning.unit import Manifest
from dd_assets.report.priors import OF_REAL, prior_fields, with_diversity
from dd_assets.report.study_figures import study_figures
from dd_assets.report.study_pages import results_of
from dd_assets.studies.registry import study
from dd_resources.store import ArtefactStore
from tests.report.stored import put

DIGITS = CATALOGUE["digits"]
SVG = "{http://www.w3.org/2000/svg}"
REAL = {"representativeness": 0.4, "frechet_teacher": 10.0}


def measured(store: ArtefactStore, key: str, representativeness: float, frechet: float, seconds: float) -> Manifest:
    """A `diversity` unit over an image set of two shards that took so long together."""
    shards = {
        f"shard{n}": put(store, "images/dap", f"{key} {n}", {}, measurements={"cpu_seconds": seconds / 2})
        for n in range(2)
    }
    sources = {name: shard.recipe_digest for name, shard in shards.items()}
    images = put(store, "image_set", key, {}, sources=sources, parameters={"of": key})
    own = {"representativeness": representativeness, "frechet_teacher": frechet}
    summary = {"set": own, "random": REAL, "class": dict.fromkeys(own)}
    sources = {"images": images.recipe_digest}
    return put(store, "diversity", key, {}, sources=sources, parameters={"of": key}, summary=summary)


def test_a_row_has_the_means_of_its_draws_and_the_seconds_of_its_shards(store: ArtefactStore) -> None:
    units = {
        "10/measured/a/draw0": measured(store, "one", 0.5, 20.0, 8.0),
        "10/measured/a/draw1": measured(store, "two", 0.3, 30.0, 4.0),
        "10/measured/ab/draw0": measured(store, "another cell", 9.0, 9.0, 9.0),
        "1/measured/a/draw0": measured(store, "another IPC", 7.0, 7.0, 7.0),
    }
    assert prior_fields("10/a", units, store.lookup) == {
        "representativeness": pytest.approx(0.4),
        "frechet": 25.0,
        "representativeness_real": 0.4,
        "frechet_real": 10.0,
        "seconds": 6.0,
    }
    assert set(prior_fields("10/b", units, store.lookup).values()) == {None}


def row(ipc: int, frechet: float | None, real: float | None = 10.0) -> dict[str, Any]:
    return {"dataset": "digits", "ipc": ipc, "frechet": frechet, "frechet_real": real}


def test_diversity_is_one_for_the_set_that_is_farthest_at_its_ipc() -> None:
    """1 + F_max - F: 20 is the largest at IPC 10; at IPC 1 it is the real images' 50, as few images lie far off."""
    rows = with_diversity([row(10, 20.0), row(10, 12.0), row(10, None, None), row(1, 40.0, 50.0)])
    assert [found["diversity"] for found in rows] == [1.0, 9.0, None, 11.0]
    assert [found["diversity_real"] for found in rows] == [11.0, 11.0, None, 1.0]


def test_a_study_of_priors_draws_them_over_its_fields_and_accuracy_over_time(store: ArtefactStore) -> None:
    entry = study("dap_guidance")
    grid = {
        "dap_guidance": {
            "method": ("dap",),
            "student": ("convnet2_w64",),
            "variants": ("as declared", "γ 0", "γ .025", "steps 10", "references 4"),
        }
    }
    chosen = dataclasses.replace(DIGITS, name="mine", studies=grid)
    units = {}
    for place, cell in enumerate(entry.cells(chosen, 10)):
        summary = {"accuracy": 0.5 + place / 100, "best_accuracy": 0.6}
        recipe = {"of": cell.key, "protocol": {"name": "rd3"}}
        for seed in (0, 1):
            key = f"{cell.key}/draw0/seed{seed}"
            units[f"10/{key}"] = put(store, "training", key, {}, parameters={**recipe, "seed": seed}, summary=summary)
        units[f"10/measured/{cell.key}/draw0"] = measured(store, cell.key, 0.5 + place / 10, 20.0 - place, 1.0 + place)
    found = results_of(entry, chosen, units, store.lookup)
    figures = {made["title"]: made["svg"] for made in study_figures(entry, chosen, found.rows)}
    end = "mine, IPC 10, convnet2_w64"
    assert list(figures) == [
        f"strength γ: {end}",
        f"number of references: {end}",
        f"sampling steps: {end}",
        f"representativeness over strength γ: {end}",
        f"diversity over strength γ: {end}",
        f"sampling of one draw, s over number of references: {end}",
        f"sampling of one draw, s over sampling steps: {end}",
        f"accuracy over sampling time: {end}",
    ]

    def said(title: str) -> list[str | None]:
        return [dot[0].text for dot in ET.fromstring(figures[f"{title}: {end}"]).iter(SVG + "circle")]

    # From the weakest to the strongest: γ 0, as declared, γ .025; F 19, 20 and 18 of at most 20.
    assert said("representativeness over strength γ") == ["0.6", "0.5", "0.7"]
    assert said("diversity over strength γ") == ["2", "1", "3"]
    # Each field's series holds the declared set, at 1 s.
    assert said("accuracy over sampling time") == ["50", "54", "50", "53"]
    (table,) = found.tables
    assert [shown["variant"] for shown in table.rows][:2] == [OF_REAL, "as declared"]
    text = table.markdown()
    assert "| as declared | 50.0 ± 0.0 | 0.500 | 1.000 | 20.000 | 1.000 |" in text
    assert f"| – | {OF_REAL} | – | 0.400 | 11.000 | 10.000 | – |" in text
