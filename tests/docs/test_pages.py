"""What the pages say can be done: their commands, run as a reader would run them, and their examples, read."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import click
import pytest

from dd_assets.cli import main
from dd_assets.datasets.user_settings import FIELDS, read_settings
from tests.docs.blocks import PROJECT, blocks, missing_line, pages, run_page, runnable
from tests.docs.skipped import SKIPPED, reason

COMMANDS = re.compile(r"^\s*(dd-assets|make|pip|docker|python|cp|export) ", re.MULTILINE)
INLINE = re.compile(r"`(dd-assets [^`\n]+)`")
OTHER_YAML = ("# recipe file", "# run config")
"""First lines of YAML that is no setting."""
STUDIES = "docs/studies.md"
"""Its YAML is a study, not a setting."""
SECONDS = 1500.0
JOINED = {
    "refused: …; left out because of it: …": ("refused: …", "; left out because of it: …"),
    "entry point … cannot be loaded: …": ("entry point … = …", "… cannot be loaded: …"),
    "hub:… cannot be fetched: …": ("hub:", "… cannot be fetched: …"),
}
"""Errors of which one part is put into the other where they are raised."""


def left_over(page: str) -> list:
    return [block for block in runnable(page) if not reason(page, block.first)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages() if left_over(page)])
def test_the_commands_of_a_page_work_as_written(page: str, tmp_path: Path) -> None:
    every = blocks(page)
    shown = {one.line: below for one, below in pairwise(every) if below.language == "text"}
    run_page(left_over(page), shown, tmp_path, SECONDS)


def test_what_is_skipped_is_still_there() -> None:
    found = [(page, block.first) for page in pages() for block in runnable(page)]
    for where, start in SKIPPED:
        named = [page for page, first in found if fnmatch(page, where) and first.startswith(start)]
        assert named, f"nothing begins with {start!r} in {where}"
        assert len(named) == len(set(named)), f"{start!r} names several blocks of a page"
    assert all(SKIPPED.values())


@pytest.mark.parametrize("page", pages())
def test_no_command_hides_in_a_fence_that_is_not_run(page: str) -> None:
    hidden = [f"{page}:{one.line}" for one in blocks(page) if not one.language and COMMANDS.search(one.text)]
    assert not hidden, f"mark them as sh: {hidden}"


def test_the_selections_of_the_method_pages_name_what_there_is() -> None:
    from dd_assets.methods.registry import METHODS

    for page in pages():
        for block in runnable(page) if page.startswith("docs/methods/") else ():
            words = shlex.split(block.text)
            assert words[:3] == ["dd-assets", "sync", "--select"], block
            assert words[3].removeprefix("group:") in METHODS(), block
            assert words[4:] == ["--partition", "digits|10"], block


@pytest.mark.parametrize("page", pages())
def test_commands_named_in_a_sentence_exist_with_their_options(page: str) -> None:
    for text in INLINE.findall((PROJECT / page).read_text("utf-8")):
        words = text.replace("\\|", "|").split()[1:]
        command = main.commands.get(words[0].rstrip(",;.")) if words[0][0].isalpha() else main
        assert isinstance(command, click.Command), f"{page}: `{text}`"
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in words[1:]:
            if word.startswith("--"):
                assert word.split("=")[0].rstrip(",;.") in options, f"{page}: `{text}`"


def settings_examples() -> list[tuple[str, int, str]]:
    found = [(page, one) for page in pages() if page != STUDIES for one in blocks(page) if one.language == "yaml"]
    return [(page, one.line, one.text) for page, one in found if not one.text.lstrip().startswith(OTHER_YAML)]


@pytest.mark.parametrize(("page", "line", "text"), settings_examples())
def test_every_settings_example_is_accepted(page: str, line: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(text, "utf-8")
    assert read_settings(tmp_path / "settings.yaml"), f"{page}:{line}"


@functools.cache
def messages() -> tuple[str, ...]:
    """Every text of both packages, an f-string as one with `…` for each value in it."""

    def text(node: ast.expr) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) or "…" for part in node.values)
        # The end of a path stands in the message too.
        if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.BinOp) and text(node.value.right):
            return f"…/{text(node.value.right)}"
        return None

    files = [path for folder in ("dd_assets", "dd_resources") for path in sorted((PROJECT / folder).rglob("*.py"))]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    return tuple({found for node in nodes if isinstance(node, ast.expr) and (found := text(node))})


def is_said(quoted: str) -> bool:
    """Whether one message, or those that JOINED names, has these words in this order; `…` stands for what varies."""
    if quoted in JOINED:
        return all(is_said(part) for part in JOINED[quoted])
    wanted = re.compile(".*".join(re.escape(part.strip()) for part in quoted.split("…")), re.DOTALL)
    return any(wanted.search(message) for message in messages())


def quoted_errors(page: str) -> list[str]:
    """What a page quotes as an error: in headings of the troubleshooting page, after "fails with" elsewhere."""
    text = (PROJECT / page).read_text("utf-8")
    start = r"^## " if page == "docs/troubleshooting.md" else r"\b(?:fails|ends) with "
    lists = re.findall(start + r"((?:`[^`\n]+`(?:,\s+|\s+or\s+)?)+)", text, re.MULTILINE)
    return [quoted for found in lists for quoted in re.findall(r"`([^`]+)`", found)]


@pytest.mark.parametrize("page", [page for page in pages() if quoted_errors(page)])
def test_every_error_that_a_page_quotes_is_a_message_of_ours(page: str) -> None:
    unsaid = [quoted for quoted in quoted_errors(page) if not is_said(quoted)]
    assert not unsaid


def test_the_pages_that_quote_errors_quote_all_they_should() -> None:
    assert len(quoted_errors("docs/troubleshooting.md")) >= 35
    both = {"has not been materialized in …", "has not been materialized for …"}
    assert both <= set(quoted_errors("docs/ui.md"))
    assert both <= set(quoted_errors("docs/troubleshooting.md"))


def test_words_of_two_messages_are_no_message() -> None:
    assert is_said("generator folder … does not exist")
    assert not is_said("generator folder … has no images")
    assert not is_said("has not been materialized for … store")


def test_every_command_stands_in_the_readme_and_every_field_of_a_setting_in_its_table() -> None:
    def named(page: str, column: int, start: str) -> set[str]:
        rows = (PROJECT / page).read_text("utf-8").replace("\\|", "").splitlines()
        cells = [row.split("|")[column] for row in rows if row.startswith(start)]
        return {word for cell in cells for word in re.findall(r"`(?:dd-assets )?([a-z_-]+)", cell)}

    assert set(main.commands) <= named("README.md", 1, "| `dd-assets")
    assert set(FIELDS) <= named("docs/datasets.md", 1, "| `")


def test_lines_are_looked_for_in_order_and_ellipses_match_within_a_line() -> None:
    printed = "first 1\nsecond 2\nthird 3"
    assert missing_line("first …\nthird 3", printed) is None
    assert missing_line("third 3\nfirst 1", printed) == "first 1"
    assert missing_line("first …3", printed) == "first …3"
    assert missing_line("second", printed) == "second"


def test_a_block_that_fails_or_prints_otherwise_is_noticed(tmp_path: Path) -> None:
    from tests.docs.blocks import Block

    good = Block("page", 1, "sh", "export DD_X=1\necho one\n")
    later = Block("page", 5, "python", "import os; print(os.environ['DD_X'])")
    folder = tmp_path / "a"
    folder.mkdir()
    run_page([good, later], {1: Block("page", 2, "text", "one\n"), 5: Block("page", 6, "text", "1\n")}, folder, 20)
    for number, (block, words) in enumerate(((Block("page", 1, "sh", "false\n"), "ended with 1"), (good, "'two'"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(AssertionError, match=words):
            run_page([block], {1: Block("page", 2, "text", "two\n")}, folder, 20)
