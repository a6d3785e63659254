"""A study's page: its numbers, marks, further table, and that each number leads to the digests it comes from."""

from __future__ import annotations

import csv
import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from markupsafe import escape

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.planning.unit import Verdict
from dd_assets.report import studies as studies_report
from dd_assets.report.site import write_site
from dd_assets.report.study_figures import study_figures
from dd_assets.report.study_pages import results_of, study_results
from dd_assets.studies.registry import studies, study
from dd_resources.store import ArtefactStore
from tests.report.stored import STUDENT, put, refer

DIGITS = CATALOGUE["digits"]
SVG = "{http://www.w3.org/2000/svg}"
KERNELS = ("linear", "rbf", "laplacian", "polynomial", "cosine")


def put_study(
    store: ArtefactStore,
    name: str,
    leave_out: str = "",
    fail: str = "",
    declared: bool = True,
    chosen: Setting = DIGITS,
    ipc: int = 10,
) -> dict[str, str]:
    """Made-up trainings of a study's cells on a setting, two seeds each; their recipe digests by key."""
    found = {}
    for place, cell in enumerate(study(name).cells(chosen)):
        if cell.method == leave_out or cell.ipc != ipc:
            continue
        for seed in (0, 1):
            key = f"{cell.key}/draw0/seed{seed}"
            accuracy = 0.5 + place / 100 + seed / 50
            summary = {"accuracy": accuracy, "best_accuracy": accuracy + 0.01, "train_accuracy": 0.9}
            parameters = {"of": key, "protocol": {"name": "rd3", "learning_rate": 0.001}}
            table = put(store, "labels", f"{name} {key}", {"views.parquet": b"x" * (100 - place)})
            sources = {"labels": table.recipe_digest} if cell.variant.label == "soft" else {}
            passed = cell.method != fail or seed == 0
            finite = Verdict(name="finite_loss", passed=passed, blocking=True, message="last loss nan")
            facts = {"parameters": parameters, "summary": summary, "sources": sources, "verdicts": (finite,)}
            found[key] = put(store, "training", f"{name} {key}", {}, **facts)
    refer(store, f"studies/{name}", f"{chosen.name}|{ipc}", found, declared)
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


def test_a_cell_with_a_student_that_failed_a_check_has_no_accuracy(store: ArtefactStore, tmp_path: Path) -> None:
    put_study(store, "attribution", fail="edc")
    (found,) = study_results(store, "default")
    failed = [row for row in found.rows if row["method"] == "edc"]
    assert {(row["status"], row["reason"], row["accuracy_mean"]) for row in failed} == {
        ("refused", "finite_loss: last loss nan", None)
    }
    assert {row["status"] for row in found.rows if row["method"] != "edc"} == {"done"}
    assert found.done == len(found.rows) - len(failed)
    write_site(store, "default", tmp_path)
    assert "finite_loss: last loss nan" in (tmp_path / "studies/attribution.html").read_text()


def test_what_was_made_with_overridden_parameters_is_no_result_of_a_study(store: ArtefactStore) -> None:
    put_study(store, "attribution", declared=False)
    assert study_results(store, "default") == []


def test_trainings_behind_a_row_are_found_whatever_label_mode_its_preset_states(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As paper:minimax, whose hard labels stand for the variant's soft ones on ImageNette."""
    digests = put_study(store, "attribution")
    (soft,) = [name for name, variant in study("attribution").variants.items() if name == "soft"]
    monkeypatch.setattr(studies_report, "_label_of", lambda *_: "hard")
    write_site(store, "default", tmp_path)
    page = (tmp_path / "studies/attribution.html").read_text()
    assert all(digest in page for key, digest in digests.items() if f"/{soft}/" in key)


SCORED = [name for name in studies() if study(name).scores not in ("", "priors", "readings")]
"""Tables of trainings alone; priors need measures of the images (test_priors.py), readings the paper's data
(test_readings.py)."""


@pytest.mark.parametrize("name", SCORED)
def test_every_kind_of_further_table_has_its_place_on_the_page(store: ArtefactStore, tmp_path: Path, name: str) -> None:
    put_study(store, name)
    (found,) = study_results(store, "default")
    assert all(table.rows for table in found.tables)
    write_site(store, "default", tmp_path)
    page = (tmp_path / f"studies/{name}.html").read_text()
    for table in found.tables:
        assert page.count(f"<h2>{escape(table.title)} ") == 1
        assert all(f'scope="col">{escape(heading)}</th>' in page for heading in table.columns.values())
        assert table.title in (tmp_path / f"studies/{name}.md").read_text()


def test_a_figure_shows_the_variants_that_change_its_field_where_their_numbers_say(
    store: ArtefactStore, tmp_path: Path
) -> None:
    put_study(store, "dap_guidance")
    written = {str(path.relative_to(tmp_path)) for path in write_site(store, "default", tmp_path)}
    pictures = [f"studies/dap_guidance_{number}.svg" for number in (1, 2, 3, 4)]
    assert written.issuperset(pictures)
    strength, *_, kernel = (ET.fromstring((tmp_path / name).read_text()) for name in pictures)
    # Of 17 cells 0, 1, 2, .. in their order: as declared (γ .005), and five other strengths.
    ticks = {text.text: float(text.get("x", "nan")) for text in strength.iter(SVG + "text")}
    spots = {dot[0].text: float(dot.get("cx", "nan")) for dot in strength.iter(SVG + "circle")}
    means = {0.005: 51, 0: 52, 0.00125: 53, 0.0025: 54, 0.01: 55, 0.025: 56}
    assert list(spots) == [f"{means[gamma]:.1f} ± 1.4" for gamma in sorted(means)]
    scale = (ticks["0.02"] - ticks["0"]) / 0.02
    for gamma, mean in means.items():
        assert spots[f"{mean:.1f} ± 1.4"] == pytest.approx(ticks["0"] + gamma * scale, abs=0.11)
    # The kernels have names for places, the declared one first, and no line joins them.
    names = [text.text for text in kernel.iter(SVG + "text") if text.text in KERNELS]
    assert names == ["linear", "rbf", "laplacian", "polynomial", "cosine"]
    assert not list(kernel.iter(SVG + "polyline"))
    page = (tmp_path / "studies/dap_guidance.html").read_text()
    assert page.count("<svg") == 4


def test_a_protocols_field_is_an_axis_too(store: ArtefactStore) -> None:
    grid = {"rd3_figure_8": {"method": ("rded", "sre2l")}}
    chosen = dataclasses.replace(DIGITS, name="mine", ipc=(10,), students=(STUDENT,), studies=grid)
    entry = study("rd3_figure_8")
    units = {}
    for place, cell in enumerate(entry.cells(chosen)):
        summary = {"accuracy": 0.5 + place / 100, "best_accuracy": 0.6}
        recipe = {"of": cell.key, "protocol": {"name": "rd3"}}
        units[f"10/{cell.key}/draw0/seed0"] = put(store, "training", cell.key, {}, parameters=recipe, summary=summary)
    found = results_of(entry, chosen, units, store.lookup)
    (figure,) = study_figures(entry, chosen, found.rows)
    assert figure["title"] == f"temperature: mine, IPC 10, {STUDENT}"
    root = ET.fromstring(figure["svg"])
    assert [len(line.get("points", "").split()) for line in root.iter(SVG + "polyline")] == [6, 6]
    first, second = (float(dot.get("cx", "nan")) for dot in list(root.iter(SVG + "circle"))[::6])
    assert first == second
    assert study_figures(entry, chosen, found.rows[:1]) == []


def test_methods_stand_side_by_side_at_a_name() -> None:
    entry, wanted = study("dap_guidance"), ("as declared", "rbf")
    rows = [
        {"ipc": 10, "student": STUDENT, "method": name, "variant": variant, "accuracy_mean": 0.5, "accuracy_std": None}
        for name in ("dap", "dap_d4m")
        for variant in wanted
    ]
    root = ET.fromstring(study_figures(entry, DIGITS, rows)[-1]["svg"])
    dots = [float(dot.get("cx", "nan")) for dot in root.iter(SVG + "circle")]
    assert [right - left for left, right in zip(dots[:2], dots[2:], strict=True)] == pytest.approx([7, 7], abs=0.11)


def test_the_fit_of_readings_has_a_page_where_the_paper_has_figures(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a further table lacked what every page shows, and the whole report ended in a traceback."""
    chosen = CATALOGUE["cifar10"]
    monkeypatch.setitem(settings(), "cifar10", chosen)
    put_study(store, "rd3_readings", chosen=chosen, ipc=1)
    write_site(store, "default", tmp_path)
    page = (tmp_path / "studies/rd3_readings.html").read_text()
    assert "How well each reading fits" in page
    assert '<td data-label="Seeds">2</td>' in page
