"""The commands that the documentation shows, and running those of one page as a reader would.

Belongs here: finding fenced blocks, one page's blocks in one fresh folder, comparing what they print with what the page
shows. Does not belong: which blocks are left out and why (skipped.py), assertions about any page.

A fence `sh` is commands, `python` a script; `text` right below is what they print, with `…` for what varies.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("sh", "python")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    """Path below the project."""
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, by which the list of skipped blocks names it."""
        return self.text.splitlines()[0].strip()


def pages() -> list[str]:
    """Every page that a reader may follow."""
    found = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("examples/**/*.md")]
    return sorted(str(path.relative_to(PROJECT)) for path in found if path.name != "CHANGELOG.md")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (PROJECT / page).read_text("utf-8")
    return [Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in FENCE.finditer(text)]


def runnable(page: str) -> list[Block]:
    """The blocks of a page that are commands or scripts."""
    return [block for block in blocks(page) if block.language in RUN]


def run_page(chosen: list[Block], shown: dict[int, Block], folder: Path, seconds: float) -> None:
    """Run blocks in order in one folder, each in a new shell, with `dd-assets` and `python` on the PATH.

    shown: a block's line to the `text` block below it. Raises AssertionError at the first block that fails, or that
    does not print what the page shows.
    """
    environment = _environment(folder)
    for block in chosen:
        command = ["bash", "-euo", "pipefail", "-c", _exported(folder, block)]
        if block.language == "python":
            command = [sys.executable, "-c", block.text]
            environment |= _kept(folder)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        where = f"{block.page}:{block.line}"
        assert done.returncode == 0, f"{where} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        if block.line in shown:
            lacking = missing_line(shown[block.line].text, done.stdout)
            assert lacking is None, f"{where} does not print {lacking!r} (in this order):\n{done.stdout}"


def missing_line(shown: str, printed: str) -> str | None:
    """The first shown line that is not printed after those before it, or None; `…` stands for anything in a line."""
    rest = [" ".join(line.split()) for line in printed.splitlines()]
    for line in filter(str.strip, shown.splitlines()):
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        place = next((n for n, candidate in enumerate(rest) if re.fullmatch(pattern, candidate)), None)
        if place is None:
            return line
        rest = rest[place + 1 :]
    return None


def _environment(folder: Path) -> dict[str, str]:
    program = folder / ".bin" / "dd-assets"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dd_assets "$@"\n', "utf-8")
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DAGSTER_"))}
    path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    # A terminal of usual width decides how tables are broken.
    return {**kept, "PATH": path, "PYTHONPATH": str(PROJECT), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}


def _exported(folder: Path, block: Block) -> str:
    """The block's commands, with what earlier blocks exported, as one terminal would keep it."""
    place = folder / ".bin" / "exported"
    before = place.read_text("utf-8") if place.exists() else ""
    exports = "".join(f"{line}\n" for line in block.text.splitlines() if line.startswith(("export ", "cd ")))
    place.write_text(before + exports, "utf-8")
    return before + block.text


def _kept(folder: Path) -> dict[str, str]:
    place = folder / ".bin" / "exported"
    lines = place.read_text("utf-8").splitlines() if place.exists() else []
    words = [word for line in lines if line.startswith("export ") for word in line.split()[1:] if "=" in word]
    return dict(word.split("=", 1) for word in words)
