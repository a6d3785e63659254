"""What `plan` lists after one edit, and what `explain` says of it: every list here was written down by hand.

Digests are shown as `…`. A line stands for one asset partition; what is not listed is fresh.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dd_assets.cli import main
from dd_assets.planning import graph
from dd_assets.planning.graph import Cell
from dd_assets.planning.unit import Reference
from dd_resources.injection import NAMESPACE
from dd_resources.store import payload_path
from tests.planning.tiny import Edit, Tiny, method, with_parameter, write_image, write_weights

SCORE = "score_convnet2_w64"


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def plan(tiny: Tiny) -> list[str]:
    """The lines of `plan` that are not fresh, of the two methods' chains, sorted."""
    (name,) = {partition.split("|")[0] for _, partition in tiny.targets()}
    rows = json.loads(run("plan", "--json", "--partition", name))
    wanted = set(tiny.targets())
    listed = [row for row in rows if (row["asset"], row["partition"]) in wanted and row["status"] != "fresh"]
    return sorted(_shown(f"{row['status']:<8} {row['asset']} [{row['partition']}]: {row['reason']}") for row in listed)


def explained(asset: str, partition: str) -> list[str]:
    """The lines of `explain`, without those of what is fresh and of recipes, sorted."""
    told = run("explain", asset, partition).splitlines()
    return sorted(_shown(line) for line in told if not line.startswith(("fresh", " ")))


def _shown(line: str) -> str:
    return re.sub(r"\b[0-9a-f]{12}\b", "…", line)


def lines(text: str) -> list[str]:
    """A hand-written list, sorted; `<S>` stands for the score's name."""
    return sorted(line.strip() for line in text.replace("<S>", SCORE).splitlines() if line.strip())


NOISE_BELOW = """
    pending  noise/soft_labels [tiny|1]: waits for noise/synthetic_images [tiny|1]
    pending  noise/soft_labels [tiny|2]: waits for noise/synthetic_images [tiny|2]
    pending  noise/<S> [tiny|1]: waits for noise/synthetic_images [tiny|1], noise/soft_labels [tiny|1]
    pending  noise/<S> [tiny|2]: waits for noise/synthetic_images [tiny|2], noise/soft_labels [tiny|2]
"""


def test_nothing_was_edited(tiny: Tiny) -> None:
    assert plan(tiny) == []
    assert explained(f"noise/{SCORE}", "tiny|2") == []
    assert tiny.make() == []


def test_a_parameter(tiny: Tiny, edit: Edit) -> None:
    edit(with_parameter(method("noise"), sigma=0.5))
    assert plan(tiny) == lines(
        """
        stale    noise/synthetic_images [tiny|1]: parameter method.sigma: 1.0 → 0.5
        stale    noise/synthetic_images [tiny|2]: parameter method.sigma: 1.0 → 0.5
        """
        + NOISE_BELOW
    )
    assert explained(f"noise/{SCORE}", "tiny|1") == lines(
        """
        stale    noise/synthetic_images [tiny|1]: parameter method.sigma: 1.0 → 0.5
        pending  noise/soft_labels [tiny|1]: waits for noise/synthetic_images [tiny|1]
        pending  noise/<S> [tiny|1]: waits for noise/synthetic_images [tiny|1], noise/soft_labels [tiny|1]
        """
    )


def test_a_version(tiny: Tiny, edit: Edit) -> None:
    edit(dataclasses.replace(method("noise"), version=2))
    assert plan(tiny) == lines(
        """
        stale    noise/synthetic_images [tiny|1]: version of images/noise 1 → 2
        stale    noise/synthetic_images [tiny|2]: version of images/noise 1 → 2
        """
        + NOISE_BELOW
    )
    # The bumped version draws the same pixels: the shards are computed again, and with the same content all else stays.
    assert tiny.make() == ["images/noise"] * 6
    assert plan(tiny) == []


def test_a_fourth_training_costs_only_itself(tiny: Tiny, edit: Edit) -> None:
    edit(None, trainings=4)
    assert plan(tiny) == lines(
        """
        stale    noise/soft_labels [tiny|1]: seed 0 → 3
        stale    noise/soft_labels [tiny|2]: seed 0 → 3
        pending  noise/<S> [tiny|1]: waits for noise/soft_labels [tiny|1]
        pending  noise/<S> [tiny|2]: waits for noise/soft_labels [tiny|2]
        stale    random/soft_labels [tiny|1]: seed 0 → 3
        stale    random/soft_labels [tiny|2]: seed 0 → 3
        pending  random/<S> [tiny|1]: waits for random/soft_labels [tiny|1]
        pending  random/<S> [tiny|2]: waits for random/soft_labels [tiny|2]
        """
    )
    # Per cell one more table, and one more student with soft and with hard labels.
    assert tiny.make() == ["labels"] * 4 + ["training"] * 8


def test_a_first_look_has_one_training_and_the_others_are_added(tiny: Tiny, edit: Edit) -> None:
    edit(None, trainings=1, ipc=(3,))
    # One set of `random` and one of `noise`, of three draws each: a student each with soft and with hard labels.
    made = tiny.make()
    assert (made.count("image_set"), made.count("labels"), made.count("training")) == (2, 2, 4)
    edit(None, trainings=3)
    added = tiny.make()
    assert (added.count("image_set"), added.count("labels"), added.count("training")) == (4, 4, 8)


def test_a_fourth_draw(tiny: Tiny, edit: Edit) -> None:
    edit(dataclasses.replace(method("noise"), draws=4))
    assert plan(tiny) == lines(
        """
        stale    noise/synthetic_images [tiny|1]: seed 0 → 3
        stale    noise/synthetic_images [tiny|2]: seed 0 → 3
        """
        + NOISE_BELOW
    )
    # Two shards serve both IPCs; each cell has one more set, table, and two more students.
    assert tiny.make() == ["image_set"] * 2 + ["images/noise"] * 2 + ["labels"] * 2 + ["training"] * 4


def test_a_dataset_file(tiny: Tiny) -> None:
    write_image(tiny.data, "train", "ant", 0, 200)
    everything = """
        stale    dataset [tiny]: input source: content … → …
        pending  teacher [tiny]: waits for dataset [tiny]
        pending  noise/synthetic_images [tiny|1]: waits for dataset [tiny]
        pending  noise/synthetic_images [tiny|2]: waits for dataset [tiny]
        pending  noise/soft_labels [tiny|1]: waits for teacher [tiny], noise/synthetic_images [tiny|1]
        pending  noise/soft_labels [tiny|2]: waits for teacher [tiny], noise/synthetic_images [tiny|2]
        pending  noise/<S> [tiny|1]: waits for dataset [tiny], teacher [tiny], noise/synthetic_images [tiny|1], <L1>
        pending  noise/<S> [tiny|2]: waits for dataset [tiny], teacher [tiny], noise/synthetic_images [tiny|2], <L2>
        pending  random/synthetic_images [tiny|1]: waits for dataset [tiny]
        pending  random/synthetic_images [tiny|2]: waits for dataset [tiny]
        pending  random/soft_labels [tiny|1]: waits for teacher [tiny], random/synthetic_images [tiny|1]
        pending  random/soft_labels [tiny|2]: waits for teacher [tiny], random/synthetic_images [tiny|2]
        pending  random/<S> [tiny|1]: waits for dataset [tiny], teacher [tiny], random/synthetic_images [tiny|1], <R1>
        pending  random/<S> [tiny|2]: waits for dataset [tiny], teacher [tiny], random/synthetic_images [tiny|2], <R2>
    """
    for mark, method_name in (("L", "noise"), ("R", "random")):
        for ipc in (1, 2):
            everything = everything.replace(f"<{mark}{ipc}>", f"{method_name}/soft_labels [tiny|{ipc}]")
    assert plan(tiny) == lines(everything)
    assert explained("teacher", "tiny") == lines(
        """
        stale    dataset [tiny]: input source: content … → …
        pending  teacher [tiny]: waits for dataset [tiny]
        """
    )
    tiny.make([("dataset", "tiny")])
    # Noise reads no image and the imported teacher means the same: what waited turned out unchanged, or says why not.
    assert explained("random/synthetic_images", "tiny|1") == lines(
        "stale    random/synthetic_images [tiny|1]: input dataset: input source: content … → …"
    )
    assert explained("noise/synthetic_images", "tiny|1") == []


def test_the_class_order(tiny: Tiny, edit: Edit) -> None:
    edit(classes=("ant", "cat", "bee"))
    listed = plan(tiny)
    (dataset,) = [line for line in listed if line.startswith("stale")]
    assert dataset == (
        'stale    dataset [tiny]: parameter classes.0: "cat" → "ant"; parameter classes.1: "ant" → "cat";'
        " input source: content … → …"
    )
    assert sorted(line.split(":")[0] for line in listed) == lines(
        """
        stale    dataset [tiny]
        pending  teacher [tiny]
        pending  noise/synthetic_images [tiny|1]
        pending  noise/synthetic_images [tiny|2]
        pending  noise/soft_labels [tiny|1]
        pending  noise/soft_labels [tiny|2]
        pending  noise/<S> [tiny|1]
        pending  noise/<S> [tiny|2]
        pending  random/synthetic_images [tiny|1]
        pending  random/synthetic_images [tiny|2]
        pending  random/soft_labels [tiny|1]
        pending  random/soft_labels [tiny|2]
        pending  random/<S> [tiny|1]
        pending  random/<S> [tiny|2]
        """
    )
    assert explained("dataset", "tiny") == [dataset]


def test_the_bytes_of_an_imported_teacher(tiny: Tiny) -> None:
    write_weights(tiny.data, seed=1)
    assert plan(tiny) == lines(
        """
        stale    teacher [tiny]: input weights: content … → …
        pending  noise/soft_labels [tiny|1]: waits for teacher [tiny]
        pending  noise/soft_labels [tiny|2]: waits for teacher [tiny]
        pending  noise/<S> [tiny|1]: waits for teacher [tiny], noise/soft_labels [tiny|1]
        pending  noise/<S> [tiny|2]: waits for teacher [tiny], noise/soft_labels [tiny|2]
        pending  random/soft_labels [tiny|1]: waits for teacher [tiny]
        pending  random/soft_labels [tiny|2]: waits for teacher [tiny]
        pending  random/<S> [tiny|1]: waits for teacher [tiny], random/soft_labels [tiny|1]
        pending  random/<S> [tiny|2]: waits for teacher [tiny], random/soft_labels [tiny|2]
        """
    )
    tiny.make([("teacher", "tiny")])
    assert explained("noise/soft_labels", "tiny|1") == lines(
        "stale    noise/soft_labels [tiny|1]: input teacher: input weights: content … → …"
    )


def test_a_launchpad_override(tiny: Tiny) -> None:
    target = ("noise/synthetic_images", "tiny|1")
    assert tiny.make([target], {"sigma": 0.5}) == ["image_set"] * 3 + ["images/noise"] * 3
    overridden = tiny.store.read_reference(NAMESPACE, *target)
    assert overridden is not None
    assert not overridden.declared
    # The declared images are still there, so nothing below them has to be computed.
    assert [line.split(":")[0] for line in plan(tiny)] == ["stale    noise/synthetic_images [tiny|1]"]
    for digest in _declared_units(tiny, target):
        manifest = tiny.store.lookup(digest)
        assert manifest is not None
        tiny.store.discard(manifest)
    overridden_line = "it was made with overridden parameters; parameter method.sigma: 0.5 → 1.0"
    assert explained(*target) == [f"stale    noise/synthetic_images [tiny|1]: {overridden_line}"]


def _declared_units(tiny: Tiny, target: tuple[str, str]) -> list[str]:
    """Recipes that the declared parameters give, read off a plan that finds them in the store."""
    from dd_assets.planning.engine import Engine
    from dd_assets.planning.verify import own_recipes
    from dd_resources.raw_data import RawData

    engine = Engine(tiny.store, RawData(str(tiny.data)), look_only=True)
    stage, cell = graph.stages()[target[0]], Cell.of(target[1])
    dataset = tiny.store.read_reference(NAMESPACE, "dataset", "tiny")
    assert dataset is not None
    return list(own_recipes(tiny.store, stage.resolve(cell, {"dataset": dataset}, engine)).values())


def test_a_deleted_payload(tiny: Tiny) -> None:
    reference = tiny.store.read_reference(NAMESPACE, "noise/synthetic_images", "tiny|2")
    assert reference is not None
    manifest = tiny.store.lookup(reference.units["draw1"])
    assert manifest is not None
    Path(tiny.store.root, payload_path(manifest.payloads["images.parquet"].sha256)).unlink()
    assert plan(tiny) == lines(
        """
        stale    noise/synthetic_images [tiny|2]: its file images.parquet is gone from the store
        pending  noise/soft_labels [tiny|2]: waits for noise/synthetic_images [tiny|2]
        pending  noise/<S> [tiny|2]: waits for noise/synthetic_images [tiny|2], noise/soft_labels [tiny|2]
        """
    )
    # Joined again from its shards, to the same bytes: nothing below is touched.
    assert tiny.make() == ["image_set"]
    again = tiny.store.lookup(manifest.recipe_digest)
    assert again is not None
    assert again.content == manifest.content
    assert tiny.store.read(again, "images.parquet")
    assert plan(tiny) == []


def test_a_renamed_asset(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    old = graph.stages()[f"noise/{SCORE}"]

    def resolve(*given: Any) -> Reference:
        return dataclasses.replace(old.resolve(*given), asset="noise/accuracy")

    monkeypatch.delitem(graph.stages(), f"noise/{SCORE}")
    monkeypatch.setitem(
        graph.stages(), "noise/accuracy", dataclasses.replace(old, asset="noise/accuracy", resolve=resolve)
    )
    assert plan(tiny) == lines(
        """
        missing  noise/accuracy [tiny|1]: complete in the store, not yet adopted
        missing  noise/accuracy [tiny|2]: complete in the store, not yet adopted
        """
    )
    assert explained("noise/accuracy", "tiny|1") == plan(tiny)[:1]
    assert tiny.make() == []


def test_a_renamed_setting(tiny: Tiny, edit: Edit) -> None:
    edit(name="petite")
    listed = plan(tiny)
    assert {"missing  dataset", "missing  teacher"} < {line.split(" [")[0] for line in listed}
    assert len(listed) == 14
    assert {line.split(": ")[1] for line in listed} == {"complete in the store, not yet adopted"}
    assert tiny.make() == []


def test_a_new_ipc(tiny: Tiny, edit: Edit) -> None:
    edit(ipc=(1, 2, 3))
    # Images do not depend on IPC: three draws need one more shard each, the others are there.
    assert plan(tiny) == lines(
        """
        missing  noise/synthetic_images [tiny|3]: units to compute: 3
        missing  noise/soft_labels [tiny|3]: waits for noise/synthetic_images [tiny|3]
        missing  noise/<S> [tiny|3]: waits for noise/synthetic_images [tiny|3], noise/soft_labels [tiny|3]
        missing  random/synthetic_images [tiny|3]: units to compute: 3
        missing  random/soft_labels [tiny|3]: waits for random/synthetic_images [tiny|3]
        missing  random/<S> [tiny|3]: waits for random/synthetic_images [tiny|3], random/soft_labels [tiny|3]
        """
    )
    assert explained("random/synthetic_images", "tiny|3") == lines(
        "missing  random/synthetic_images [tiny|3]: units to compute: 3"
    )
    made = tiny.make()
    assert (made.count("images/noise"), made.count("images/random")) == (3, 3)
    assert {unit.parameters["first"] for unit in tiny.computed if unit.name.startswith("images/")} == {2}
