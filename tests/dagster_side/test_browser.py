"""The Dagster UI as people use it: a real browser on a real deployment.

The tests build on each other in this order, on one deployment and in one page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dagster_side.chromium import materialize, page, program
from tests.dagster_side.service import Service
from tests.servers import free_port

pytestmark = [pytest.mark.service, pytest.mark.slow]
IMAGES = "noise/synthetic_images"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One deployment for the module, with a run under way whose teacher will stay below its floor."""
    program()
    settings = {"DD_DATASETS": str(Path(__file__).with_name("browser.yaml"))}
    made = Service(tmp_path_factory.mktemp("browser"), free_port(), overrides=settings)
    try:
        made.start()
        made.launch("datasets_job", "hopeless", ["dataset", "teacher"])
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def view(service: Service) -> Iterator[Any]:
    """One page of one browser."""
    with page(f"http://127.0.0.1:{service.port}") as opened:
        yield opened


def ended_well(service: Service, **tags: str) -> list[str]:
    """Partitions of the runs with these tags, once they have all ended; each must have succeeded."""

    def found() -> list[dict[str, Any]]:
        runs = service.runs(tags=[{"key": name.replace("_", "/"), "value": value} for name, value in tags.items()])
        return runs if runs and all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in runs) else []

    runs = service.wait_for(found, 180, f"runs with {tags}")
    assert {run["status"] for run in runs} == {"SUCCESS"}
    return sorted(run["tags"]["dagster/partition"] for run in runs)


def test_the_lineage_is_browsed_from_images_to_what_they_read(view: Any) -> None:
    view.goto(f"/assets/{IMAGES}?view=lineage")
    for neighbour in ("dataset", "soft_labels", "diversity", "score_convnet2_w64"):
        view.get_by_text(neighbour, exact=True).first.wait_for()
    # A node that the graph must not show: noise reads no teacher.
    assert view.get_by_text("teacher", exact=True).count() == 0
    view.get_by_role("button", name="Upstream").click()
    view.get_by_text("soft_labels", exact=True).first.wait_for(state="detached")
    view.get_by_text("dataset", exact=True).first.dblclick()
    view.wait_for_url("**/assets/dataset**")


def test_the_description_names_paper_formula_and_code(view: Any) -> None:
    view.goto("/assets/sre2l/synthetic_images")
    for text in (
        "arXiv 2306.13092",
        "VILA-Lab/SRe2L",
        "r_bn",
        "What differs here",
        "docs/methods/sre2l.md",
        "distillation",
    ):
        view.get_by_text(text).first.wait_for()


def test_one_partition_is_launched_from_the_dialog_and_its_contact_sheet_is_seen(view: Any, service: Service) -> None:
    view.goto("/assets/dataset")
    materialize(view, [["quick"]], "Launch 1 run")
    assert ended_well(service, dagster_partition="quick") == ["quick"]
    view.goto("/assets/dataset?view=events&partition=quick")
    see_contact_sheet(view)


def see_contact_sheet(view: Any) -> None:
    """The contact sheet is an image that the browser decoded, larger than an icon and not of one colour."""
    view.get_by_text("contact_sheet", exact=True).first.wait_for()
    view.get_by_text("[Show Markdown]").first.click()
    sheet = view.locator("img[src^='data:image/png']").first
    sheet.wait_for()
    drawn = sheet.evaluate(
        """async picture => {
            await picture.decode();
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
            const brush = canvas.getContext('2d');
            brush.drawImage(picture, 0, 0);
            const data = brush.getImageData(0, 0, canvas.width, canvas.height).data;
            return {width: canvas.width, height: canvas.height, colours: new Set(data).size,
                    shown: picture.getBoundingClientRect().width};
        }"""
    )
    assert min(drawn["width"], drawn["height"], drawn["shown"]) > 50, drawn
    assert drawn["colours"] > 8, drawn


def test_a_backfill_is_launched_from_the_dialog(view: Any, service: Service) -> None:
    view.goto(f"/assets/{IMAGES}")
    materialize(view, [["quick"], ["1", "2"]], "Launch backfill")
    backfill = service.wait_for(
        lambda: next(
            (run["tags"].get("dagster/backfill") for run in service.runs() if "dagster/backfill" in run["tags"]), ""
        ),
        120,
        "the backfill's first run",
    )
    service.end_of_backfill(backfill, 240)
    assert ended_well(service, dagster_backfill=backfill) == ["quick|1", "quick|2"]
    view.goto(f"/assets/{IMAGES}?view=events&partition=quick%7C2")
    see_contact_sheet(view)


def test_a_failed_verdict_says_what_is_wrong(view: Any, service: Service) -> None:
    (run,) = service.runs(tags=[{"key": "dagster/partition", "value": "hopeless"}])
    assert service.end_of(run["runId"], 300) == "FAILURE"
    view.goto("/assets/teacher?view=checks")
    view.get_by_text("accuracy_above_floor", exact=True).first.click()
    view.get_by_text("floor 100.00% (train it for more epochs").first.wait_for()
