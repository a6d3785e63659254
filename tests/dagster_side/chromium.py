"""A headless Chromium for tests, and the few gestures of the Dagster UI that they make.

Belongs here: finding the browser, opening a page, choosing partitions in the Materialize dialog. Does not belong:
assertions, starting a deployment (service.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60_000
"""Milliseconds that a gesture waits for what it acts on; a run's end is waited for by other means."""


def program() -> str:
    """The browser that DD_CHROMIUM names, else one on the PATH; skips the test where there is none."""
    stated = os.environ.get("DD_CHROMIUM", "")
    if stated:
        assert Path(stated).is_file(), f"DD_CHROMIUM={stated} is not a file"
        return stated
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium here: none of {', '.join(NAMES)} is on the PATH and DD_CHROMIUM is not set")
    return found


@contextlib.contextmanager
def page(address: str) -> Iterator[Any]:
    """A playwright page whose relative addresses begin at `address`; skips the test where playwright is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    with playwright.sync_playwright() as driver:
        # The tests' own pages are all it opens; containers rarely allow its sandbox.
        browser = driver.chromium.launch(executable_path=program(), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=address, viewport={"width": 1500, "height": 950})
        context.set_default_timeout(PATIENCE)
        yield context.new_page()
        browser.close()


def materialize(view: Any, axes: Sequence[Sequence[str]], button: str) -> None:
    """On an asset's page: open its Materialize dialog, choose partitions of each axis, press the button named."""
    view.get_by_role("button", name="Materialize").first.click()
    view.get_by_text("Partition selection").wait_for()
    for partitions in axes:
        # A list that was filled no longer says this, so the first that does is the next axis's.
        view.get_by_text("Select a partition or create one").first.click()
        search = view.get_by_placeholder("Filter partitions")
        for partition in partitions:
            search.fill(partition)
            view.get_by_role("menuitem").filter(has=view.get_by_text(partition, exact=True)).locator("label").click()
        # A click beside the list closes it; Escape would close the dialog.
        view.get_by_text("Launch runs to materialize").click()
        search.wait_for(state="hidden")
    view.get_by_role("button", name=button).click()
