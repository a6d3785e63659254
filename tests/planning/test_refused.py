"""What may not be used, or cannot be read, is a row of the plan like any other, and holds up only what is below it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dd_assets.automation import due
from dd_assets.cli import main
from dd_assets.errors import DDError, InputError, VerdictError
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner, Target
from dd_assets.planning.sync import MOST_NAMED, LeftOutError, Outcome, Sync, publish
from dd_assets.planning.verify import own_recipes
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from tests.planning.tiny import Edit, Tiny, method, spoil, with_parameter

IMAGES, SCORE = "noise/synthetic_images", "noise/score_convnet2_w64"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def plan(*partitions: str) -> dict[Target, tuple[str, str]]:
    done = run("plan", "--json", *(part for name in partitions for part in ("--partition", name)))
    assert done.exit_code == 0, done.output
    return {(row["asset"], row["partition"]): (row["status"], row["reason"]) for row in json.loads(done.stdout)}


def planner(tiny: Tiny) -> Planner:
    return Planner(Engine(tiny.store, RawData(str(tiny.data)), look_only=True), NAMESPACE)


def sync(
    tiny: Tiny, targets: Sequence[Target], adopt_only: bool = False, strict: bool = False
) -> tuple[Outcome | DDError, list[str]]:
    """What a sync that has nothing to compute came to, and what it said."""
    said: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        engine = Engine(tiny.store, RawData(str(tiny.data)), look_only=True)
        job = Sync(engine, NAMESPACE, instance, dg.Definitions(), lambda *_: dg.MaterializeResult(), said.append)
        job.adopt_only = adopt_only
        try:
            outcome = job.run(targets, strict)
            return outcome if adopt_only else outcome.left_out or outcome, said
        except DDError as error:
            return error, said


def test_images_with_a_failed_verdict_are_refused_until_all_their_recipes_are_discarded(tiny: Tiny) -> None:
    first, second = spoil(tiny, (IMAGES, "tiny|2"), "draw0/shard00001", "draw2/shard00001")
    rows = plan("tiny")
    status, reason = rows[(IMAGES, "tiny|2")]
    assert status == "refused"
    assert f"(recipe {first}) was stored with a failed verdict 'floor': 12 %, floor 90 % (and 1 more) → mend" in reason
    assert reason.endswith(f"where the recipe stays the same, `dd-assets discard {first} {second}` before that")
    assert rows[("noise/soft_labels", "tiny|2")] == ("refused", f"waits for {IMAGES} [tiny|2], refused")
    assert rows[(SCORE, "tiny|2")][0] == "refused"
    assert {rows[target][0] for target in tiny.targets() if not target[0].startswith("noise/")} == {"fresh"}
    assert rows[(SCORE, "tiny|1")] == ("fresh", "")

    done = run("discard", first, second)
    assert [line.split(" (")[1] for line in done.stdout.splitlines()] == [f"{first})", f"{second})"]
    assert plan("tiny")[(IMAGES, "tiny|2")][0] == "stale"
    assert tiny.make() == ["images/noise"] * 2
    assert {plan("tiny")[target] for target in tiny.targets()} == {("fresh", "")}


def test_a_teacher_below_its_floor_is_refused_with_the_verdict(tiny: Tiny) -> None:
    (recipe,) = spoil(tiny, ("teacher", "tiny"), "teacher")
    rows = plan("tiny")
    assert rows[("teacher", "tiny")][0] == "refused"
    assert f"(recipe {recipe}) was stored with a failed verdict 'floor'" in rows[("teacher", "tiny")][1]
    # What reads it is told the same; what does not stays as it is.
    assert rows[("noise/soft_labels", "tiny|1")] == rows[("teacher", "tiny")]
    assert rows[(IMAGES, "tiny|1")] == ("fresh", "")
    told = run("explain", SCORE, "tiny|1").stdout
    assert f"refused  teacher [tiny]: {rows[('teacher', 'tiny')][1]}\n         recipes: teacher {recipe}\n" in told


def test_a_folder_that_is_gone_refuses_its_own_dataset_alone(tiny: Tiny) -> None:
    shutil.rmtree(tiny.data / "tiny")
    rows = plan("tiny", "digits|1", "digits")
    status, reason = rows[("dataset", "tiny")]
    assert status == "refused"
    assert str(tiny.data) in reason
    assert " → " in reason
    assert rows[(SCORE, "tiny|1")][0] == "refused"
    assert rows[("dataset", "digits")] == ("missing", "units to compute: 1")
    assert rows[(SCORE, "digits|1")][0] == "missing"


def test_the_plan_closes_with_totals_and_gives_its_estimates_units(tiny: Tiny) -> None:
    spoil(tiny, ("teacher", "tiny"), "teacher")
    done = run("plan", "--select", 'key:"dataset" or key:"teacher"', "--partition", "tiny", "--partition", "digits")
    *_, closing = done.stdout.splitlines()
    counts = "1 fresh, 2 missing, 0 stale, 0 pending, 0 blocked, 1 refused"
    assert re.fullmatch(
        rf"{counts}; to compute: about \d+\.\d s of one process and \d+\.\d MB, as far as known .*", closing
    )
    assert re.search(r"0\.0 s .*0\.0 MB", done.stdout)
    done = run("plan", "--select", 'key:"rded/soft_labels"', "--partition", "digits|1")
    assert done.stdout.splitlines()[-1].endswith("0 refused; nothing is known yet of what it takes to compute 1")


def test_a_schedule_leaves_what_is_refused_alone_and_the_ui_is_told_why(tiny: Tiny, edit: Edit) -> None:
    spoil(tiny, ("teacher", "tiny"), "teacher")
    edit(with_parameter(method("noise"), sigma=0.5))
    found = planner(tiny)
    assert due(found, tiny.targets()) == {part: [(IMAGES, part)] for part in ("tiny|1", "tiny|2")}
    with dg.DagsterInstance.ephemeral() as instance:
        publish(instance, [found.rows[("teacher", "tiny")]])
        key = dg.AssetCheckKey(dg.AssetKey("teacher"), "up_to_date")
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=2)
    assert record.event is not None
    event = record.event.dagster_event
    assert event is not None
    assert "refused: teacher" in str(event.asset_check_evaluation_data.description)


def test_sync_goes_on_after_a_result_that_may_not_be_used_and_names_it_at_the_end(tiny: Tiny) -> None:
    (recipe,) = spoil(tiny, (SCORE, "tiny|1"), "hard/draw0/seed0")
    error, said = sync(tiny, [(SCORE, "tiny|1"), (SCORE, "tiny|2")])
    assert isinstance(error, LeftOutError)
    assert (error.exit_code, error.problem) == (1, f"refused: {SCORE} [tiny|1]")
    assert said[-1] == f"adopted   {SCORE} [tiny|2]"
    (line,) = [line for line in said if line.startswith("refused")]
    assert line.startswith(f"refused   {SCORE} [tiny|1]: ")
    assert recipe in line


def test_what_reads_a_refused_partition_is_left_out_and_named_and_the_rest_goes_on(tiny: Tiny) -> None:
    spoil(tiny, (IMAGES, "tiny|1"), "draw0/shard00000")
    error, said = sync(tiny, [("random/soft_labels", "tiny|2"), (SCORE, "tiny|1")])
    assert isinstance(error, LeftOutError)
    assert error.problem == f"refused: {IMAGES} [tiny|1]; left out because of it: {SCORE} [tiny|1]"
    assert "adopted   random/soft_labels [tiny|2]" in said
    assert [line.split(":")[0] for line in said if line.startswith("refused")] == [f"refused   {IMAGES} [tiny|1]"]


def test_sync_ends_with_the_refusal_itself_where_all_that_was_asked_for_reads_it(tiny: Tiny) -> None:
    spoil(tiny, ("teacher", "tiny"), "teacher")
    error, said = sync(tiny, [(SCORE, "tiny|1"), ("random/soft_labels", "tiny|2")])
    assert isinstance(error, VerdictError)
    assert not any("soft_labels" in line or line.startswith("refused") for line in said)


def test_the_closing_error_lists_a_few_of_many(tiny: Tiny) -> None:
    spoil(tiny, (IMAGES, "tiny|1"), "draw0/shard00000")
    below = [("noise/soft_labels", "tiny|1"), (SCORE, "tiny|1")]
    error, _ = sync(tiny, [*below * (MOST_NAMED // 2 + 1), ("random/soft_labels", "tiny|1")])
    assert isinstance(error, LeftOutError)
    assert error.problem.endswith(f"{SCORE} [tiny|1] and 2 more")


def test_adopting_passes_over_what_is_refused_with_all_below_it(tiny: Tiny) -> None:
    spoil(tiny, (IMAGES, "tiny|2"), "draw0/shard00001")
    outcome, said = sync(tiny, tiny.targets(), adopt_only=True)
    assert isinstance(outcome, Outcome)
    refused = {target for target, word in outcome.lines.items() if word == "refused"}
    assert refused == {target for target in tiny.targets() if target[0].startswith("noise/") and target[1] == "tiny|2"}
    assert outcome.count("adopted") == len(tiny.targets()) - len(refused)
    assert any(line.startswith(f"refused   {IMAGES} [tiny|2]: ") for line in said)


def test_adopting_counts_what_is_not_there_without_a_line_for_each(tiny: Tiny, edit: Edit) -> None:
    edit(with_parameter(method("noise"), sigma=0.5))
    outcome, said = sync(tiny, tiny.targets(), adopt_only=True)
    assert isinstance(outcome, Outcome)
    assert outcome.count("left") == sum(target[0].startswith("noise/") for target in tiny.targets())
    assert not any("noise/" in line for line in said)


def test_a_dataset_that_cannot_be_read_refuses_a_sync_with_its_own_error(tiny: Tiny) -> None:
    shutil.rmtree(tiny.data / "tiny")
    error, _ = sync(tiny, [(SCORE, "tiny|1")])
    assert isinstance(error, InputError)


def test_what_only_other_settings_use_is_passed_over_and_blocks_no_sync(tiny: Tiny) -> None:
    elsewhere = ("noise/score_resnet18", "tiny|1")
    outcome, said = sync(tiny, [elsewhere, (SCORE, "tiny|1"), ("generator_small", "tiny")], strict=True)
    assert isinstance(outcome, Outcome)
    assert outcome.lines[(SCORE, "tiny|1")] == "adopted"
    blocked = {line.split(":")[0] for line in said if line.startswith("blocked")}
    assert blocked == {"blocked   noise/score_resnet18 [tiny|1]", "blocked   generator_small [tiny]"}


@pytest.mark.parametrize("others", [[], [("generator_small", "tiny")], [("noise/score_resnet18", "tiny|2")]])
def test_a_sync_of_which_all_is_blocked_says_so(tiny: Tiny, others: list[Target]) -> None:
    error, said = sync(tiny, [("noise/score_resnet18", "tiny|1"), *others], strict=True)
    assert isinstance(error, InputError)
    assert error.problem.startswith("noise/score_resnet18 [tiny|1] is blocked: tiny does not score resnet18")
    assert error.problem.endswith("(and 1 more)") is bool(others)
    assert not any(line.startswith("blocked") for line in said)


def test_one_asset_by_name_is_refused_where_it_is_blocked_in_one_partition(tiny: Tiny, edit: Edit) -> None:
    edit(ipc=(1, 5))
    pair: list[Target] = [("random/synthetic_images", "tiny|1"), ("random/synthetic_images", "tiny|5")]
    error, _ = sync(tiny, pair, strict=True)
    assert isinstance(error, InputError)
    assert error.problem.startswith("random/synthetic_images [tiny|5] is blocked: ")


def test_discard_tells_none_from_several_and_takes_no_short_beginnings(tiny: Tiny) -> None:
    def refusal(*recipes: str) -> str:
        done = run("discard", *recipes)
        assert done.exit_code == 2
        assert len(tiny.store.list("manifests")) == count
        return done.stderr

    count = len(tiny.store.list("manifests"))
    (path, *_) = tiny.store.list("manifests")
    digest = path.rsplit("/", 1)[-1].removesuffix(".json")
    for wrong in ("", digest[:5], "../manifests", "xyzxyz"):
        assert "give 6 to 64 of its digits" in refusal(wrong)
    absent = digest[:6] + ("0" if digest[6] != "0" else "1") * 58
    assert f"begins with '{absent}' → `dd-assets explain ASSET PARTITION` and `verify` show" in refusal(digest, absent)
    twin = Path(tiny.store.root, path.replace(digest, digest[:-1] + ("0" if digest[-1] != "0" else "1")))
    shutil.copy(Path(tiny.store.root, path), twin)
    count += 1
    assert f"2 recipes begin with '{digest[:12]}'" in refusal(digest[:12])
    assert run("discard", digest).exit_code == 0


@pytest.mark.parametrize("command", ["explain", "verify"])
def test_asset_and_partition_must_fit_each_other(tiny: Tiny, command: str) -> None:
    for asset, partition, text in (
        (SCORE, "tiny", f"{SCORE} has no partition 'tiny' → its partitions are like 'tiny|1'"),
        ("teacher", "tiny|2", "teacher has no partition 'tiny|2' → its partitions are like 'tiny'"),
        ("noise", "tiny|1", "unknown asset 'noise' → its assets are noise/synthetic_images, noise/soft_labels"),
    ):
        done = run(command, asset, partition)
        assert done.exit_code in (2, 3)
        assert text in done.stderr


def test_explain_and_verify_show_recipes(tiny: Tiny) -> None:
    reference = tiny.store.read_reference(NAMESPACE, IMAGES, "tiny|1")
    assert reference is not None
    told = run("explain", IMAGES, "tiny|1").stdout
    for key, digest in own_recipes(tiny.store, reference).items():
        assert f"{key} {digest[:12]}" in told


def test_a_store_without_scores_is_named_and_a_page_that_cannot_be_written_is_one_error(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "page.html"):
        done = run("leaderboard", "--html", str(place))
        assert done.exit_code == 3
        assert f"the page cannot be written to {place}: " in done.stderr
        assert " → name a file" in done.stderr
    monkeypatch.setenv("DD_STORE", str(tmp_path / "empty"))
    done = run("leaderboard")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    assert f"the store at {tmp_path / 'empty'} has no scores → set DD_STORE" in done.stdout
    done = run("leaderboard", "--json")
    assert json.loads(done.stdout) == []
    assert "has no scores" in done.stderr


def test_a_partition_that_lacks_some_of_its_units_is_told_their_share_of_the_cost(tiny: Tiny) -> None:
    stored = [tiny.store.read_reference(NAMESPACE, SCORE, partition) for partition in ("tiny|1", "tiny|2")]
    small, large = [list(found.units.values()) for found in stored if found is not None]
    gone = large.pop()
    run("discard", gone[:12])
    row = planner(tiny).visit((SCORE, "tiny|2"))
    kept = [tiny.store.lookup(digest) for digest in small + large]
    # Per image of the IPC, of which the two partitions have one and two.
    per_index = sum(found.total_bytes for found in kept if found is not None) / (1 + 2)
    assert (row.status, row.bytes_estimate) == ("stale", round(per_index * 2 / (len(large) + 1)))
    run("discard", *(digest[:12] for digest in large))
    row = planner(tiny).visit((SCORE, "tiny|2"))
    per_index = sum(found.total_bytes for found in kept[: len(small)] if found is not None) / (1 + 2)
    assert row.bytes_estimate == round(per_index * 2)
