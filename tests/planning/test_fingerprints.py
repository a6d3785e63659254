"""The version guard, on small packages written to a temporary folder, and on the project's own record."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dd_assets.errors import InputError
from dd_assets.planning import fingerprints
from dd_assets.planning.fingerprints import IGNORED, accept, compare, covered, fingerprint, read_record
from dd_assets.planning.source_tokens import meaningful_tokens

ROOTS = ("own",)


@pytest.fixture
def project(tmp_path: Path):
    """Writes modules by dotted name ('own.a' or 'own.a.__init__') and returns the folder."""

    def write(**sources: str) -> Path:
        for dotted, source in sources.items():
            path = tmp_path.joinpath(*dotted.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source), "utf-8")
        return tmp_path

    return write


def taken(where: Path, module: str = "own.unit", **options) -> str:
    """The fingerprint in the temporary project."""
    return fingerprint(module, ROOTS, where, **options)


BASE = '''
    """What it is."""
    import math

    RATE = 0.1
    """Per step."""


    def step(x: float) -> float:
        """One step."""
        if x > 0:
            x = x - RATE
        return math.exp(x)
'''

SAME = {
    "comments": BASE.replace("RATE = 0.1", "# why\n    RATE = 0.1  # tuned"),
    "module docstring": BASE.replace("What it is.", "Something else."),
    "function docstring": BASE.replace("One step.", "Takes one step."),
    "attribute docstring": BASE.replace('    """Per step."""\n', ""),
    "blank lines": BASE.replace("\n\n\n", "\n"),
    "wrapped expression": BASE.replace("math.exp(x)", "math.exp(\n            x\n        )"),
    "spaces": BASE.replace("x - RATE", "x  -  RATE"),
    "indentation width": textwrap.dedent(BASE).replace("    ", "  "),
}

CHANGED = {
    "a number": BASE.replace("0.1", "0.2"),
    "an operator": BASE.replace("x - RATE", "x + RATE"),
    "a dedented statement": BASE.replace("            x = x - RATE", "            pass\n        x = x - RATE"),
    "the end of a block": BASE.replace("        return math", "            return math"),
    "a default": BASE.replace("x: float)", "x: float = 1.0)"),
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME.keys())
def test_comments_docstrings_and_layout_are_free(project, source):
    assert taken(project(**{"own.unit": BASE})) == taken(project(**{"own.unit": source}))


@pytest.mark.parametrize("source", CHANGED.values(), ids=CHANGED.keys())
def test_code_is_not_free(project, source):
    # Dropping INDENT and DEDENT with the white space would miss the last statement moving into or out of the `if`.
    assert taken(project(**{"own.unit": BASE})) != taken(project(**{"own.unit": source}))


def test_the_place_of_line_ends_is_meaning():
    assert list(meaningful_tokens("a\n-b\n")) != list(meaningful_tokens("a - b\n"))


@pytest.mark.parametrize("source", ["x = 'a'\n", "f = lambda: 'a'\n", "x: 'a'\n", "f('a')\n", "return_ = (\n'a'\n)\n"])
def test_strings_that_are_values_stay(source):
    assert list(meaningful_tokens(source)) != list(meaningful_tokens(source.replace("'a'", "'b'")))


def test_fstrings_are_one_token_on_every_python():
    # Since 3.12 tokenize takes f-strings apart; the record must not depend on who runs the check.
    source = 'x = f"a {b!r:>{width}} {f"{c}"}"\n' if sys.version_info >= (3, 12) else 'x = f"a {b!r:>{width}}"\n'
    tokens = list(meaningful_tokens(source))
    assert tokens == ["x", "=", source.strip().removeprefix("x = "), "<NEWLINE>"]
    assert list(meaningful_tokens('f"""a\n{b}\nc"""\n')) == ['f"""a\n{b}\nc"""', "<NEWLINE>"]


IMPORTS = {
    "absolute": "import own.low",
    "from module": "from own.low import value",
    "from package": "from own import low",
    "relative": "from . import low",
    "relative module": "from .low import value",
    "aliased": "import own.low as other",
    "inside a function": "def f():\n    from own.low import value\n    return value",
    "inside a branch": "try:\n    import own.low\nexcept ImportError:\n    pass",
}


@pytest.mark.parametrize("statement", IMPORTS.values(), ids=IMPORTS.keys())
def test_every_kind_of_import_is_followed_transitively(project, statement):
    where = project(
        **{
            "own.__init__": "",
            "own.unit": statement + "\n",
            "own.low": "from own.lower import value\n",
            "own.lower": "value = 1\n",
        }
    )
    assert covered("own.unit", ROOTS, where) == ["own.low", "own.lower", "own.unit"]
    before = taken(where)
    project(**{"own.lower": "value = 2\n"})
    assert taken(where) != before


def test_names_made_by_a_package_bring_the_package(project):
    where = project(
        **{
            "own.unit": "from own.parts import build\n",
            "own.parts.__init__": "from .made import build\n",
            "own.parts.made": "def build(): return 1\n",
            "own.parts.other": "x = 1\n",
        }
    )
    assert covered("own.unit", ROOTS, where) == ["own.parts", "own.parts.made", "own.unit"]


def test_a_name_that_hides_a_submodule_brings_both(project):
    where = project(
        **{
            "own.unit": "from own.parts import made\n",
            "own.parts.__init__": "made = 3\n",
            "own.parts.made": "x = 1\n",
        }
    )
    assert covered("own.unit", ROOTS, where) == ["own.parts", "own.parts.made", "own.unit"]


def test_type_only_foreign_and_ignored_imports_do_not_count(project):
    where = project(
        **{
            "own.unit": """
            from typing import TYPE_CHECKING
            import numpy
            from own.pictures import draw
            if TYPE_CHECKING:
                from own.kinds import Kind
            else:
                from own.low import Kind
        """,
            "own.pictures": "import own.deep\n",
            "own.kinds": "",
            "own.low": "",
            "own.deep": "",
        }
    )
    assert covered("own.unit", ROOTS, where, ignored=["own.pict*"]) == ["own.low", "own.unit"]


def test_import_circles_end(project):
    where = project(**{"own.unit": "import own.other\n", "own.other": "import own.unit\n"})
    assert covered("own.unit", ROOTS, where) == ["own.other", "own.unit"]


def test_missing_modules_are_named(project):
    where = project(**{"own.unit": "from own.gone import x\n", "own.broken": "def\n"})
    with pytest.raises(InputError, match=r"own\.unit imports own\.gone"):
        taken(where)
    with pytest.raises(InputError, match=r"no module 'own\.never'"):
        taken(where, "own.never")
    with pytest.raises(InputError, match=r"own\.broken does not parse"):
        taken(where, "own.broken")


def entry(version: int, code: str, note: str = "") -> dict[str, object]:
    """One unit's record."""
    return {"version": version, "fingerprint": code, **({"note": note} if note else {})}


def test_compare_tells_the_five_cases_apart():
    declared = {
        "same": entry(1, "a"),
        "edited": entry(1, "a"),
        "raised": entry(1, "a"),
        "back": entry(2, "a"),
        "gone": entry(1, "a"),
    }
    now = {
        "same": entry(1, "a"),
        "edited": entry(1, "b"),
        "raised": entry(2, "b"),
        "back": entry(1, "a"),
        "new": entry(1, "a"),
    }
    problems = dict(line.split(": ", 1) for line in compare(declared, now))
    assert set(problems) == {"edited", "raised", "back", "gone", "new"}
    assert "raise the version" in problems["edited"]
    assert "version 2 is not recorded" in problems["raised"]
    assert "went back from 2 to 1" in problems["back"]
    assert compare(now, now) == []


def test_accept_asks_for_proof_at_an_unchanged_version():
    record, now = {"u": entry(1, "a", "first")}, {"u": entry(1, "b")}
    for note in ("", "tidied", "bytes unchanged:", "bytes unchanged:   "):
        with pytest.raises(InputError, match="u changed at version 1"):
            accept(record, now, ["u"], note)
    accepted = accept(record, now, ["u"], "bytes unchanged: golden digests of tests/planning")
    assert accepted["u"] == entry(1, "b", "bytes unchanged: golden digests of tests/planning")
    assert record["u"]["fingerprint"] == "a", "the given record is not written to"


def test_accept_records_raised_new_and_dropped_units_and_keeps_old_notes():
    record = {"raised": entry(1, "a"), "gone": entry(1, "a"), "same": entry(1, "a", "kept")}
    now = {"raised": entry(2, "b"), "new": entry(1, "c"), "same": entry(1, "a")}
    accepted = accept(record, now, ["raised", "gone", "new", "same"], "why")
    assert accepted == {"raised": entry(2, "b", "why"), "new": entry(1, "c", "why"), "same": entry(1, "a", "kept")}
    with pytest.raises(InputError, match="no unit 'unknown'"):
        accept(record, now, ["unknown"], "")
    with pytest.raises(InputError, match="went back"):
        accept({"u": entry(3, "a")}, {"u": entry(2, "a")}, ["u"], "bytes unchanged: yes")


def test_the_command_line_checks_refuses_and_accepts(tmp_path, monkeypatch, capsys):
    record = tmp_path / "fingerprints.json"
    record.write_text(json.dumps({"u": entry(1, "a")}), "utf-8")
    monkeypatch.setattr(fingerprints, "read_record", lambda: read_record(record))
    original = fingerprints.write_record
    monkeypatch.setattr(fingerprints, "write_record", lambda entries: original(entries, record))
    monkeypatch.setattr(fingerprints, "current", lambda: {"u": entry(1, "b")})
    assert fingerprints.main(["--check"]) == 1
    assert "changed at version 1" in capsys.readouterr().out
    assert fingerprints.main(["--accept", "u", "--note", "tidied"]) == 3
    assert read_record(record)["u"]["fingerprint"] == "a"
    assert fingerprints.main(["--accept", "u", "--note", "bytes unchanged: same digests"]) == 0
    assert fingerprints.main(["--check"]) == 0
    record.write_text("{}", "utf-8")
    assert fingerprints.main(["--accept", "all", "--note", "first record"]) == 0
    assert read_record(record) == {"u": entry(1, "b", "first record")}
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprints.json"]


DRAWING = {"accuracy_curve", "chart", "exports", "formats", "page", "pictures", "plots", "scatter"}
JUDGING = {"comparison", "contents", "diversity", "leaderboard", "metrics", "published", "relations", "scores"}


def test_what_gives_a_unit_its_content_is_covered_and_what_only_draws_is_not(capsys):
    def listed(unit: str) -> set[str]:
        assert fingerprints.main(["--covered", unit]) == 0
        return set(capsys.readouterr().out.split())

    board = {name.rsplit(".", 1)[-1] for name in listed("leaderboard") if name.startswith("dd_assets.report.")}
    assert board >= JUDGING | {"statistics", "variance"}
    assert not board & DRAWING
    assert not any(name.startswith("dd_assets.report") for name in listed("teacher"))
    shards = listed("images/random")
    assert {"dd_assets.units.images", "dd_assets.methods.random.synthesis", "dd_assets.units.tables"} <= shards
    assert "dd_assets.methods.rded.synthesis" not in shards


def test_the_code_that_calls_a_synthesis_is_part_of_its_fingerprint(project, monkeypatch):
    where = project(**{"own.unit": "def compute(): return 1\n", "own.method": "def make(): return 1\n"})
    modules = {"images/a": (1, ("own.unit", "own.method"))}
    monkeypatch.setattr("dd_assets.units.kinds.unit_modules", lambda: modules)
    monkeypatch.setattr(fingerprints, "ROOTS", ROOTS)
    monkeypatch.setattr(fingerprints, "PROJECT", where)
    seen = [fingerprints.current()["images/a"]["fingerprint"]]
    for name in ("own.unit", "own.method"):
        project(**{name: "def changed(): return 2\n"})
        seen.append(fingerprints.current()["images/a"]["fingerprint"])
    assert len(set(seen)) == 3


def test_every_ignored_module_exists_and_has_a_reason():
    for pattern, reason in IGNORED.items():
        path = fingerprints.PROJECT.joinpath(*pattern.removesuffix(".*").split("."))
        assert path.is_dir() if pattern.endswith(".*") else path.with_suffix(".py").is_file(), pattern
        assert len(reason) > 20, pattern


def test_the_projects_units_agree_with_their_recorded_versions():
    done = subprocess.run(
        [sys.executable, "-m", "dd_assets.planning.fingerprints", "--check"],
        cwd=fingerprints.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
