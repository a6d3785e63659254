"""From a store to verdict, page and report: what is compared, what is linked, and that nothing comes from outside."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dd_assets.assets.leaderboard import SHOWN
from dd_assets.cli import main
from dd_assets.errors import InputError
from dd_assets.planning.unit import Manifest, Verdict
from dd_assets.report import efficiency
from dd_assets.report.comparison import CONTROL_SOFT, compare
from dd_assets.report.contents import gather
from dd_assets.report.leaderboard import leaderboard_rows
from dd_assets.report.plots import contest_plots
from dd_assets.report.scores import contests
from dd_assets.report.site import write_site
from dd_assets.report.statistics import Runs
from dd_assets.units import leaderboard
from dd_assets.units.tables import write_columns
from dd_assets.units.training import CURVES, SCORE
from dd_resources.store import ArtefactStore
from tests.report.stored import AGREEMENT, STUDENT, put, put_scores, refer
from tests.report.worlds import probit_world


def made(means: dict[str, float], trial: int, seeds: int = 6) -> dict[str, Runs]:
    return probit_world(np.random.default_rng(trial), means, 1, seeds, 200, seed=0.05)[0]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """digits|1: rded beats random, noise is worse; an overridden sre2l would beat all. Nobody writes to it."""
    store = ArtefactStore(str(tmp_path_factory.mktemp("filled"))).open()
    soft = made({"rded": 1.6, "random": 0.6, "noise": -1.0, "sre2l": 3.0}, 0)
    hard = made({"rded": 0.0, "random": -0.6, "noise": -1.5, "sre2l": 1.0}, 1)
    for name in soft:
        put_scores(store, name, "digits|1", {"soft": soft[name], "hard": hard[name]}, declared=name != "sre2l")
    facts = {"architecture": STUDENT, "test_accuracy": 0.98}
    teacher = put(store, "teacher", "teacher", {"teacher.safetensors": b"w" * 900}, summary=facts)
    refer(store, "teacher", "digits", {"teacher": teacher})
    return store


def test_contests_hold_the_stored_bits_and_leave_overridden_results_out(filled: ArtefactStore) -> None:
    soft, hard = contests(filled, "default", "digits|1")
    assert (soft.label, hard.label) == ("soft", "hard")
    assert set(soft.runs) == {"noise", "random", "rded"}
    expected = made({"rded": 1.6, "random": 0.6, "noise": -1.0, "sre2l": 3.0}, 0)["rded"]
    assert (soft.runs["rded"].bits == expected.bits).all()
    assert soft.runs["rded"].seeds == expected.seeds
    assert soft.soft_control is None
    assert hard.soft_control is not None
    assert hard.soft_control.accuracy == soft.runs["random"].accuracy
    assert compare(hard, 500).against_soft_random.contrast.second == CONTROL_SOFT
    assert len(contests(filled, "default", "digits")) == 2
    with pytest.raises(InputError, match=r"no score of digits\|10"):
        contests(filled, "default", "digits|10")


def test_scores_on_an_older_content_of_the_dataset_do_not_compete(store: ArtefactStore) -> None:
    """Their bits belong to other images, maybe as many: pairing them up would be noise that looks like a comparison."""
    bits = made({"rded": 1.0, "random": 0.5, "noise": 3.0}, 0, seeds=2)
    for name, own in bits.items():
        put_scores(store, name, "digits|1", {"soft": own}, dataset=("e" if name == "noise" else "d") * 64)
    assert set(contests(store, "default")[0].runs) == {"random", "rded"}


@pytest.mark.parametrize("newer", [180, 200])
def test_random_soft_labels_of_another_dataset_content_are_no_control(store: ArtefactStore, newer: int) -> None:
    """Fewer test images ended the report in an error, and as many were paired with images that they are not."""
    old, new = made({"rded": 1.0, "cda": 0.5, "random": 0.2}, 0), made({"random": 0.5, "sre2l": 0.4, "cda": 0.1}, 1)
    for name in ("rded", "cda"):
        put_scores(store, name, "digits|1", {"soft": old[name], "hard": old[name]}, dataset="d" * 64)
    for name in ("random", "sre2l", "noise"):
        runs = dataclasses.replace(new.get(name, new["cda"]), bits=new.get(name, new["cda"]).bits[:, :newer])
        put_scores(store, name, "digits|1", {"soft": runs}, dataset="e" * 64)
    soft, hard = sorted(contests(store, "default", "digits|1"), key=lambda contest: contest.label == "hard")
    assert (set(soft.runs), set(hard.runs)) == ({"random", "sre2l", "noise"}, {"rded", "cda"})
    assert hard.soft_control is None
    assert compare(hard, 200).against_soft_random is None


def test_seconds_of_processors_and_gpus_share_no_axis() -> None:
    row = {"dataset": "digits", "ipc": 1, "student": STUDENT, "label": "soft", "apart": ""}
    row |= {"accuracy_mean": 0.5, "image_bytes": 10, "label_bytes": 10, "teacher_seconds": 1, "generator_seconds": 0}
    cpu = {**row, "method": "rded", "device": "cpu", "device_seconds": 300.0}
    cuda = {**row, "method": "sre2l", "device": "cuda:0", "device_seconds": 20.0}
    mixed = {**row, "method": "cda", "device": efficiency.MIXED, "device_seconds": 100.0}

    def titles(*rows: dict[str, Any]) -> list[str]:
        return [plot["title"].split(": ")[1] for plot in contest_plots(rows)["digits", 1]]

    stored = "bytes of images and labels"
    assert titles(cpu, cuda) == titles(cuda, cpu) == titles(cpu, mixed) == [stored]
    other = {**cpu, "method": "dwa"}
    assert [title[:11] for title in titles(cuda, cpu, other)] == ["CPU-seconds", "CPU-seconds", stored[:11]]


def test_the_cost_of_draws_made_on_processors_and_gpus_is_of_no_one_device(store: ArtefactStore) -> None:
    def drawn(*devices: str) -> Manifest:
        sources = {
            f"shard{place}": put(
                store, "images/rded", f"{place} of {devices}", {}, measurements={"device": name}
            ).recipe_digest
            for place, name in enumerate(devices)
        }
        return put(store, "image_set", f"of {devices}", {}, sources=sources)

    def device(*sets: Manifest) -> str:
        cost = efficiency.mean_cost(sets, store.lookup)
        assert cost is not None
        return cost.device

    cpu, gpu, both = drawn("cpu", "cpu"), drawn("cuda:0", "cuda:1"), drawn("cpu", "cuda:0")
    assert (device(cpu, cpu), efficiency.device_kind(device(gpu))) == ("cpu", "gpu")
    assert device(cpu, gpu) == device(both) == device(cpu, both) == efficiency.MIXED


def test_scores_under_another_protocol_do_not_compete(store: ArtefactStore) -> None:
    """Four epochs against four hundred, both called rd3: no rank, no share in the verdict, no IOR."""
    bits = made({"rded": -1.0, "random": 0.5, "noise": 0.0}, 0, seeds=2)
    for name, own in bits.items():
        short = {"name": "rd3", "epochs": 4 if name == "rded" else 400}
        put_scores(store, name, "digits|1", {"soft": own}, protocol=short)
    assert set(contests(store, "default")[0].runs) == {"noise", "random"}
    rows = {row["method"]: row for row in gather(store, "default").rows}
    assert [rows[name]["rank"] for name in ("random", "noise", "rded")] == [1, 2, None]
    assert [rows[name]["apart"] for name in ("random", "noise", "rded")] == ["", "", "other protocol"]
    assert (rows["rded"]["ior"], rows["rded"]["ranks"], rows["rded"]["beats_random"]) == (None, None, "")
    assert rows["noise"]["ior"] is not None
    assert "other protocol" in leaderboard.page(store, gather(store, "default"))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"teacher": "u" * 64}, "other labeller"),
        (
            {"verdicts": (Verdict(name="finite_loss", passed=False, blocking=True, message="last loss nan"),)},
            "failed check",
        ),
    ],
)
def test_students_of_another_teacher_or_without_a_finite_loss_do_not_compete(
    store: ArtefactStore, other: dict[str, Any], why: str
) -> None:
    bits = made({"rded": 3.0, "random": 0.5, "noise": 0.0}, 0, seeds=2)
    for name, own in bits.items():
        put_scores(store, name, "digits|1", {"soft": own}, **(other if name == "rded" else {}))
    assert set(contests(store, "default")[0].runs) == {"noise", "random"}
    rows = {row["method"]: row for row in gather(store, "default").rows}
    assert [(rows[name]["rank"], rows[name]["apart"]) for name in ("random", "noise", "rded")] == [
        (1, ""),
        (2, ""),
        (None, why),
    ]
    assert rows["rded"]["ior"] is None


def test_a_cell_in_which_all_students_failed_has_no_contest(store: ArtefactStore) -> None:
    failed = (Verdict(name="finite_loss", passed=False, blocking=True, message="last loss nan"),)
    put_scores(store, "random", "digits|1", {"hard": made({"random": 0.5}, 0, seeds=2)["random"]}, verdicts=failed)
    assert contests(store, "default") == []
    assert gather(store, "default").rows[0]["apart"] == "failed check"


def test_a_labeller_that_is_not_known_is_not_held_against_a_student(store: ArtefactStore) -> None:
    """A label table that was discarded says no more who labelled."""
    for name, own in made({"rded": 3.0, "random": 0.5}, 0, seeds=2).items():
        put_scores(store, name, "digits|1", {"soft": own})
    labels = store.read_reference("default", "rded/soft_labels", "digits|1")
    assert labels is not None
    gone = store.lookup(next(iter(labels.units.values())))
    assert gone is not None
    store.discard(gone)
    assert [row["apart"] for row in leaderboard_rows(store, "default")] == ["", ""]


def test_a_report_is_made_although_images_were_discarded(store: ArtefactStore, tmp_path: Path) -> None:
    """What `discard` leaves until the next sync: scores whose images, and so bytes, are gone."""
    for name, own in made({"rded": 3.0, "random": 0.5, "noise": 0.1}, 0, seeds=2).items():
        put_scores(store, name, "digits|1", {"hard": own, "soft": own})
    images = store.read_reference("default", "rded/synthetic_images", "digits|1")
    assert images is not None
    gone = store.lookup(images.units["draw0"])
    assert gone is not None
    store.discard(gone)
    write_site(store, "default", tmp_path)
    found = gather(store, "default")
    assert {point["method"] for entry in found.frontiers for point in entry["points"]} == {"random", "noise"}
    assert {row["method"] for row in found.rows} == {"rded", "random", "noise"}


def test_a_loss_that_was_never_finite_is_no_curve(store: ArtefactStore, tmp_path: Path) -> None:
    put_scores(store, "random", "digits|1", {"hard": made({"random": 0.5}, 0, seeds=2)["random"]})
    score = store.read_reference("default", f"random/score_{STUDENT}", "digits|1")
    assert score is not None
    units = {}
    for key, digest in score.units.items():
        manifest = store.lookup(digest)
        assert manifest is not None
        curves = write_columns({"loss": np.full(2, np.nan), "train_accuracy": np.array([0.1, 0.1])})
        files = {SCORE: store.read(manifest, SCORE), CURVES: curves}
        facts = {"parameters": manifest.recipe["parameters"], "summary": manifest.summary}
        units[key] = put(store, "training", f"diverged {key}", files, seed=9, sources=manifest.sources, **facts)
    refer(store, f"random/score_{STUDENT}", "digits|1", units)
    write_site(store, "default", tmp_path)
    assert "labels, IPC 1" in (tmp_path / "methods/random.html").read_text()
    assert ": loss" not in (tmp_path / "methods/random.html").read_text()


def test_rows_gain_what_stands_beside_accuracy(filled: ArtefactStore) -> None:
    rows = {(row["method"], row["label"]): row for row in gather(filled, "default").rows}
    soft, hard, random = rows["rded", "soft"], rows["rded", "hard"], rows["random", "soft"]
    assert soft["ior"] == pytest.approx(soft["accuracy_mean"] - random["accuracy_mean"])
    assert hard["hlr"] == pytest.approx(0.98 - hard["accuracy_mean"])
    alpha = 0.5 * soft["ior"] - 0.5 * hard["hlr"]
    assert soft["lrs"] == pytest.approx((np.exp(alpha) - np.exp(-1)) / (np.e - np.exp(-1)))
    assert (soft["beats_random"], rows["noise", "soft"]["beats_random"], random["beats_random"]) == ("yes", "no", "")
    assert (soft["ranks"], rows["sre2l", "soft"]["ranks"]) == ([1, 1], None)
    assert (soft["device_seconds"], soft["teacher_bytes"], soft["label_bytes"]) == (1.0, 900, 500)
    assert (soft["label_agreement"], hard["label_agreement"]) == (AGREEMENT, None)


def test_agreement_is_the_mean_over_the_tables_of_the_rows_own_trainings(store: ArtefactStore) -> None:
    put_scores(store, "random", "digits|1", {"soft": made({"random": 0.5}, 0)["random"]})
    # Another student's table, of which this row's trainings know nothing.
    other = put(store, "labels", "other", {"views.parquet": b"x"}, summary={"base_agreement": 0.1})
    refer(store, "random/soft_labels", "digits|1", {"draw0/seed0/batch10": other})
    assert leaderboard_rows(store, "default")[0]["label_agreement"] == AGREEMENT
    trainings = {}
    # Two stored tables, and one whose labels were found online.
    for seed, summary in enumerate(({"base_agreement": 0.9}, {"base_agreement": 0.5}, {})):
        table = put(store, "labels", f"table {seed}", {"views.parquet": b"x"}, summary=summary)
        trainings[f"soft/draw0/seed{seed}"] = put(
            store,
            "training",
            f"training {seed}",
            {},
            parameters={"protocol": {"name": "rd3"}, "seed": seed},
            sources={"labels": table.recipe_digest},
            summary={"accuracy": 0.5, "best_accuracy": 0.5, "train_accuracy": 0.5},
        )
    refer(store, f"random/score_{STUDENT}", "digits|1", trainings)
    row = leaderboard_rows(store, "default")[0]
    assert row["label_agreement"] == pytest.approx(0.7)
    # What a table that left the store can be held against another store by.
    assert row["trainings"] == " ".join(manifest.content[:16] for manifest in trainings.values())
    assert len(set(row["trainings"].split())) == 3


def test_a_person_sees_the_agreement_where_there_is_room(
    filled: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = leaderboard_rows(filled, "default")
    assert set(SHOWN) <= set(rows[0])
    assert "label_agreement" in SHOWN
    monkeypatch.setenv("DD_STORE", filled.root)
    wide = CliRunner().invoke(main, ["leaderboard"]).output
    assert "agree %" in wide
    assert " 87.5 " in wide
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    assert "agree %" not in CliRunner().invoke(main, ["leaderboard"]).output


def test_every_link_of_the_report_leads_somewhere_and_nowhere_outside(filled: ArtefactStore, tmp_path: Path) -> None:
    written = write_site(filled, "default", tmp_path / "report")
    names = {str(path.relative_to(tmp_path / "report")) for path in written}
    assert {"index.html", "leaderboard.md", "leaderboard.csv", "comparisons.csv", "methods/rded.html"} <= names
    for page in (path for path in written if path.suffix == ".html"):
        text = page.read_text()
        assert "<script" not in text
        assert not re.search(r"url\(|@import|(?:href|src)=\"(?:https?:)?//", text)
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            if link.startswith("data:"):
                continue
            name, _, place = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target in [path.resolve() for path in written], link
            assert not place or f'id="{place}"' in target.read_text(), link


def test_an_accuracy_leads_to_the_digests_of_its_trainings(filled: ArtefactStore, tmp_path: Path) -> None:
    write_site(filled, "default", tmp_path)
    index, page = ((tmp_path / name).read_text() for name in ("index.html", "methods/rded.html"))
    assert f'href="methods/rded.html#digits-1-{STUDENT}-soft"' in index
    reference = filled.read_reference("default", f"rded/score_{STUDENT}", "digits|1")
    assert reference is not None
    assert all(digest in page for digest in reference.units.values())
    assert all(digest in page for digest in reference.contents.values())
    assert f"dd-assets verify rded/score_{STUDENT} &#39;digits|1&#39;" in page
    assert "rded wins with" in index
    assert "rded beats random images with soft labels" in index


def test_tables_beside_the_pages_say_the_same(filled: ArtefactStore, tmp_path: Path) -> None:
    write_site(filled, "default", tmp_path)
    rows = list(csv.DictReader((tmp_path / "comparisons.csv").open()))
    by_method = {row["method"]: row for row in rows if row["label"] == "soft"}
    assert [by_method[name]["rank"] for name in ("rded", "random", "noise")] == ["1", "2", "3"]
    assert float(by_method["rded"]["this_minus_random_low"]) > 0
    assert by_method["random"]["this_minus_random_p"] == ""
    text = (tmp_path / "leaderboard.md").read_text()
    assert re.search(r"\| 1 \| rded \| \*\*\d\d\.\d\d\*\* ± ", text)
    assert re.search(r"\| 2 \| random \| \*\d\d\.\d\d\* ± ", text)
    assert "sre2l (overridden)" in text
    stored = json.loads((tmp_path / "comparisons.json").read_text())
    assert {entry["label"] for entry in stored} == {"soft", "hard"}


def test_compare_prints_the_verdict(filled: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_STORE", filled.root)
    done = CliRunner().invoke(main, ["compare", "--partition", "digits|1", "--student", STUDENT, "--label", "soft"])
    assert done.exit_code == 0, done.output
    assert "rded wins with" in done.output
    assert "noise does worse than random images with soft labels." in done.output
    assert "hard labels" not in done.output
    found = json.loads(CliRunner().invoke(main, ["compare", "--partition", "digits", "--json"]).stdout)
    assert [entry["label"] for entry in found] == ["soft", "hard"]
    assert found[0]["standings"][0]["against_random"]["contrast"]["pairs"] == 6
    wrong = CliRunner().invoke(main, ["compare", "--partition", "digits|1", "--label", "sft"])
    assert wrong.exit_code == 2


def test_an_empty_store_has_a_report_that_says_so(store: ArtefactStore, tmp_path: Path) -> None:
    write_site(store, "default", tmp_path / "empty")
    assert "No score has been computed yet" in (tmp_path / "empty" / "index.html").read_text()


def reported(store: ArtefactStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setenv("DD_STORE", store.root)
    return CliRunner().invoke(main, ["report", str(folder), "--no-embedding"])


def test_a_report_without_scores_says_so_in_a_line(
    store: ArtefactStore, filled: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = reported(store, tmp_path / "empty", monkeypatch)
    assert done.exit_code == 0, done.output
    assert f"no score in store {store.root}" in done.output
    assert (tmp_path / "empty/index.html").exists()
    assert "no score in store" not in reported(filled, tmp_path / "full", monkeypatch).output


def test_where_no_report_can_be_written_one_line_says_so_before_any_work(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr("dd_assets.cli.reporting._embed", lambda: pytest.fail("computed before it was refused"))
    monkeypatch.setenv("DD_STORE", store.root)
    for place in ("file", "file/below", "/proc/report"):
        done = CliRunner().invoke(main, ["report", str(tmp_path / place)])
        assert done.exit_code == InputError.exit_code, done.output
        assert done.output.startswith(f"dd-assets: the report cannot be written to {tmp_path / place}: ")
        assert len(done.output.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "kept"
    # A page's own name may be taken too.
    (tmp_path / "site/index.html").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot be written to .*index\.html: Is a directory → name a folder"):
        write_site(store, "default", tmp_path / "site")


def test_ranks_that_no_runs_support_are_not_printed(store: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    few = made({"rded": 2.0, "random": 0.0, "noise": -2.0}, 0, seeds=3)
    for name, runs in few.items():
        put_scores(store, name, "digits|1", {"soft": runs})
    monkeypatch.setenv("DD_STORE", store.root)
    done = CliRunner().invoke(main, ["compare", "--partition", "digits|1"])
    assert "No verdict yet: 3 of the 5 runs that one takes → write `trainings: 5` in the setting" in done.output
    assert "1-3" not in done.output
    found = json.loads(CliRunner().invoke(main, ["compare", "--partition", "digits|1", "--json"]).stdout)
    assert [entry["ranks"] for entry in found[0]["standings"]] == [None, None, None]


def test_a_committees_labels_need_all_of_its_networks(store: ArtefactStore) -> None:
    put_scores(store, "random", "digits|1", {"soft": made({"random": 0.5}, 0)["random"]})
    members = {
        f"committee/{name}": put(store, "teacher", name, {"teacher.safetensors": b"w" * size})
        for name, size in (("a", 100), ("b", 30))
    }
    sources = {"images": "i" * 64, **{name: manifest.recipe_digest for name, manifest in members.items()}}
    table = put(store, "labels", "hybrid", {"views.parquet": b"x"}, sources=sources)
    refer(store, "random/soft_labels", "digits|1", {"draw0/seed0/batch50": table})
    (row,) = gather(store, "default").rows
    assert row["teacher_bytes"] == 130
    assert row["label_storage"] == "stored"


def test_a_row_says_how_its_soft_labels_are_kept(store: ArtefactStore) -> None:
    protocol = {"name": "rd3", "label_codec": "int8", "label_epochs": 100}
    facts = {"accuracy": 0.5, "best_accuracy": 0.5, "train_accuracy": 0.5}
    key = "soft/draw0/seed0"
    score = put(store, "training", key, {}, parameters={"protocol": protocol}, summary=facts)
    refer(store, "random/score_convnet2_w64", "digits|1", {key: score})
    (row,) = leaderboard_rows(store, "default")
    assert row["label_storage"] == "stored, int8, 100 epochs"


def test_equal_bytes_stand_in_the_report_as_figure_and_table(filled: ArtefactStore, tmp_path: Path) -> None:
    write_site(filled, "default", tmp_path)
    rows = list(csv.DictReader((tmp_path / "equal_bytes.csv").open()))
    assert {row["label"] for row in rows} == {"soft", "hard", "soft, seed + teacher"}
    assert all(row["gain"] for row in rows if row["method"] == "random" and row["label"] == "soft")
    assert "soft, seed + teacher" in (tmp_path / "index.html").read_text()
