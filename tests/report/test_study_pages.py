"""A study's page: its numbers, marks, further table, and that each number leads to the digests it comes from."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.report.site import write_site
from dd_assets.report.study_pages import study_results
from dd_assets.studies.registry import study
from dd_resources.store import ArtefactStore
from tests.report.stored import STUDENT, put, refer

DIGITS = CATALOGUE["digits"]


def put_study(store: ArtefactStore, name: str, leave_out: str = "") -> dict[str, str]:
    """Made-up trainings of a study's cells on digits, two seeds each; their recipe digests by key."""
    found = {}
    for place, cell in enumerate(study(name).cells(DIGITS)):
        if cell.method == leave_out:
            continue
        for seed in (0, 1):
            key = f"{cell.key}/draw0/seed{seed}"
            accuracy = 0.5 + place / 100 + seed / 50
            summary = {"accuracy": accuracy, "best_accuracy": accuracy + 0.01, "train_accuracy": 0.9}
            parameters = {"of": key, "protocol": {"name": "rd3", "learning_rate": 0.001}}
            found[key] = put(store, "training", f"{name} {key}", {}, parameters=parameters, summary=summary)
    refer(store, f"studies/{name}", "digits|10", found)
    return {key: manifest.recipe_digest for key, manifest in found.items()}


def test_a_page_per_study_with_marks_shares_and_digests(store: ArtefactStore, tmp_path: Path) -> None:
    digests = put_study(store, "attribution")
    written = write_site(store, "default", tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in written}
    assert {f"studies/attribution{end}" for end in (".html", ".md", ".csv", "_scores.csv")} <= names
    page = (tmp_path / "studies/attribution.html").read_text()
    assert all(digest in page for digest in digests.values())
    # The cell of edc, soft labels, is the last: means .70 and .71 over two seeds, gap .9 - .7.
    assert re.search(r'class="best" href="#digits-10-edc-[^"]*-soft-soft">70\.00</a>', page)
    assert "+20.0" in page
    assert "1 draw, 2 seeds" in page
    assert "dd-assets verify studies/attribution &#39;digits|10&#39;" in page
    for place in re.findall(r'href="#([^"]+)"', page):
        assert page.count(f'id="{place}"') == 1, place
    assert 'href="studies/attribution.html"' in (tmp_path / "index.html").read_text()
    rows = list(csv.DictReader((tmp_path / "studies/attribution_scores.csv").open()))
    assert [row["method"] for row in rows] == ["sre2l", "edc"]
    assert float(rows[1]["gain"]) == float(rows[1]["images"]) + float(rows[1]["recipe"])
    text = (tmp_path / "studies/attribution.md").read_text()
    assert re.search(r"\| edc \| convnet2_w64 \| soft \| soft \| \*\*70\.0 ± 1\.4\*\* \|", text)


def test_cells_without_a_result_say_so(store: ArtefactStore, tmp_path: Path) -> None:
    put_study(store, "robust_scores", leave_out="rded")
    (found,) = study_results(store, "default")
    assert (found.done, len(found.rows)) == (6, 9)
    (table,) = found.tables
    shown = {row["method"]: table.shown(row) for row in table.rows}
    assert shown["rded"]["ARS"] == "–"
    assert shown["sre2l"]["ARS"] != "–"
    assert shown["sre2l"]["HLR"] == "–", "no student of the real images is stored"
    assert {row["student"] for row in found.rows} == {STUDENT}
    write_site(store, "default", tmp_path)
    assert "missing" in (tmp_path / "studies/robust_scores.html").read_text()
