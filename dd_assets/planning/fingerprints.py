"""The version guard: has the code behind a unit changed since its version was declared?

Belongs here: hashing a module with its first-party imports, comparing with `fingerprints.json`, accepting a change.
Does not belong: recipe digests (they carry the version number, never a fingerprint) and deciding to recompute.

The hash covers tokens, so comments, docstrings and layout are free; a change of anything else asks for a raised
version or for a recorded "bytes unchanged: <how that was proved>". Packages' `__init__` modules count only where they
are imported from by name. Imports written as text (`"module:function"`) are not followed: a unit names its own code.

Run it: `python -m dd_assets.planning.fingerprints --check | --accept UNIT… --note "bytes unchanged: …"`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dd_assets.errors import DDError, InputError
from dd_assets.planning.source_tokens import meaningful_tokens

ROOTS = ("dd_assets", "dd_resources")
PROJECT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("fingerprints.json")
UNCHANGED = "bytes unchanged:"

IGNORED: dict[str, str] = {
    "dd_assets.errors": "texts of refusals; no value passes through",
    "dd_assets.progress": "tells listeners how far a computation is; nothing comes back but checkpoints",
    **{
        f"dd_assets.report.{name}": "draws or words what others found: shown, never part of a content digest"
        for name in ("accuracy_curve", "chart", "exports", "formats", "page", "pictures", "plots", "scatter")
    },
    "dd_assets.planning.graph": "lists assets and students; the leaderboard's inputs name those that it shows",
    "dd_assets.planning.engine": "looks up, leases and commits; hands inputs over by content digest, unchanged",
    "dd_resources.store": "moves bytes under content digests, which are checked on every read",
    "dd_assets.units.kinds": "the list of versions itself; each version enters the recipe digest on its own",
}
"""Modules (shell patterns) that no fingerprint covers, with the reason."""

Problem = str
Declared = Mapping[str, Mapping[str, Any]]


def fingerprint(
    module: str, roots: Sequence[str] = ROOTS, where: Path = PROJECT, ignored: Iterable[str] = tuple(IGNORED)
) -> str:
    """sha256 (hex) over the tokens of `module` and of everything it imports from `roots`, transitively.

    where: the folder that holds the root packages; nothing is imported. Raises InputError for a module that cannot be
    found, naming who imports it.
    """
    return _Tree(tuple(roots), where, tuple(ignored)).fingerprint(module)


def covered(
    module: str, roots: Sequence[str] = ROOTS, where: Path = PROJECT, ignored: Iterable[str] = tuple(IGNORED)
) -> list[str]:
    """The modules that `fingerprint` hashes, sorted; raises as it does."""
    return sorted(_Tree(tuple(roots), where, tuple(ignored)).closure(module))


def current() -> dict[str, dict[str, Any]]:
    """Unit name to {version, fingerprint} of the code as it is now."""
    from dd_assets.units.kinds import unit_modules

    tree = _Tree(ROOTS, PROJECT, tuple(IGNORED))
    return {
        name: {"version": version, "fingerprint": tree.fingerprint(*modules)}
        for name, (version, modules) in unit_modules().items()
    }


def compare(declared: Declared, current: Declared) -> list[Problem]:
    """What must be decided, one line per unit, sorted by unit; empty when the record agrees with the code."""
    problems = []
    for name in sorted({*declared, *current}):
        if name not in current:
            problems.append(f"{name}: recorded, but no such unit exists → --accept {name} drops the record")
        elif name not in declared:
            problems.append(f"{name}: not recorded → --accept {name}")
        else:
            problem = _difference(name, declared[name], current[name])
            problems += [problem] if problem else []
    return problems


def accept(record: Declared, current: Declared, names: Sequence[str], note: str) -> dict[str, dict[str, Any]]:
    """The record with `names` brought up to date; a unit that no longer exists is dropped.

    Raises InputError for an unknown name, for a version below the recorded one, and for a change of code at an
    unchanged version whose note does not begin with "bytes unchanged:" and say how that was proved.
    """
    updated = {name: dict(entry) for name, entry in record.items()}
    for name in names:
        if name not in record and name not in current:
            raise InputError(f"there is no unit {name!r}", f"known: {', '.join(sorted({*record, *current}))}")
        if name not in current:
            del updated[name]
            continue
        old, new = record.get(name), current[name]
        if old and old == {**old, **new}:
            continue
        if old and new["version"] < old["version"]:
            raise InputError(
                f"{name} went back from version {old['version']} to {new['version']}", "give it a version not used yet"
            )
        proved = note.startswith(UNCHANGED) and note.removeprefix(UNCHANGED).strip()
        if old and new["version"] == old["version"] and not proved:
            raise InputError(
                f"{name} changed at version {old['version']}",
                f'raise its version, or --note "{UNCHANGED} <how the golden digests showed it>"',
            )
        updated[name] = {**new, "note": note}
    return updated


def read_record(path: Path = RECORD) -> dict[str, dict[str, Any]]:
    """The recorded {unit: {version, fingerprint, note}}; empty if there is no file."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def write_record(record: Declared, path: Path = RECORD) -> None:
    """Replace the file in one step; sorted, so that its diff shows only what changed."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    os.replace(scratch, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the record agrees, 1 when something must be decided, 3 when a change is refused."""
    parser = argparse.ArgumentParser(prog="python -m dd_assets.planning.fingerprints", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="print what must be decided")
    action.add_argument("--accept", nargs="+", metavar="UNIT", default=[], help="record these units, or 'all'")
    action.add_argument("--covered", metavar="UNIT", help="print the modules a unit's fingerprint covers")
    parser.add_argument("--note", default="", help=f'why; "{UNCHANGED} …" if the version was not raised')
    options = parser.parse_args(arguments)
    try:
        if options.covered:
            from dd_assets.units.kinds import unit_modules

            tree = _Tree(ROOTS, PROJECT, tuple(IGNORED))
            print("\n".join(sorted(tree.closure(*unit_modules()[options.covered][1]))))
            return 0
        now = current()
        if options.accept:
            record = read_record()
            names = sorted({*record, *now}) if options.accept == ["all"] else options.accept
            write_record(accept(record, now, names, options.note))
        problems = compare(read_record(), now)
    except DDError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n".join(problems) if problems else f"{len(now)} units agree with their recorded versions")
    return 1 if problems and options.check else 0


def _difference(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Problem | None:
    if new["version"] < old["version"]:
        return f"{name}: version went back from {old['version']} to {new['version']} → give it one not used yet"
    if new["version"] > old["version"]:
        return f"{name}: version {new['version']} is not recorded → --accept {name}"
    if new["fingerprint"] == old["fingerprint"]:
        return None
    return (
        f"{name}: the code changed at version {old['version']} → raise the version if results change, "
        f'else --accept {name} --note "{UNCHANGED} …"'
    )


@dataclass
class _Tree:
    """The first-party sources below one folder, each read and parsed once."""

    roots: tuple[str, ...]
    where: Path
    ignored: tuple[str, ...]
    hashes: dict[str, str] = field(default_factory=dict)
    imports: dict[str, set[str]] = field(default_factory=dict)

    def fingerprint(self, *modules: str) -> str:
        lines = [f"{name} {self._hash(name)}" for name in sorted(self.closure(*modules))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def closure(self, *modules: str) -> set[str]:
        for module in modules:
            if self._file(module) is None:
                raise InputError(f"there is no module {module!r} below {self.where}", "correct the unit's module path")
        found, waiting = set(modules), list(modules)
        while waiting:
            fresh = self._imported(waiting.pop()) - found
            found |= fresh
            waiting += fresh
        return found

    def _file(self, module: str) -> Path | None:
        base = self.where.joinpath(*module.split("."))
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    def _source(self, module: str) -> str:
        path = self._file(module)
        if path is None:
            raise InputError(f"there is no module {module!r} below {self.where}", "correct the import")
        return path.read_text("utf-8")

    def _parsed(self, module: str) -> ast.Module:
        try:
            return ast.parse(self._source(module))
        except SyntaxError as error:
            raise InputError(f"{module} does not parse: {error.msg} (line {error.lineno})", "correct it") from error

    def _hash(self, module: str) -> str:
        if module not in self.hashes:
            text = json.dumps(list(meaningful_tokens(self._source(module))))
            self.hashes[module] = hashlib.sha256(text.encode()).hexdigest()
        return self.hashes[module]

    def _imported(self, module: str) -> set[str]:
        if module not in self.imports:
            found: set[str] = set()
            for name in self._targets(module, self._parsed(module)):
                if name.split(".")[0] not in self.roots:
                    continue
                if self._file(name) is None:
                    raise InputError(f"{module} imports {name}, which does not exist", "correct the import")
                if not any(fnmatchcase(name, pattern) for pattern in self.ignored):
                    found.add(name)
            self.imports[module] = found
        return self.imports[module]

    def _targets(self, module: str, tree: ast.AST) -> Iterator[str]:
        """Absolute names of the modules that `tree` imports at run time, inside functions too."""
        for node in _executed(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(module, node)
                if base.split(".")[0] in self.roots:
                    yield from self._from(base, [alias.name for alias in node.names])

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        path = self._file(module)
        parts = module.split(".")
        package = parts if path is not None and path.name == "__init__.py" else parts[:-1]
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])

    def _from(self, base: str, names: list[str]) -> Iterator[str]:
        """`from base import names`: submodules by themselves, anything else is defined by `base`."""
        path = self._file(base)
        package = path is not None and path.name == "__init__.py"
        if not package and path is None and not self.where.joinpath(*base.split(".")).is_dir():
            yield base
            return
        mentioned = set(meaningful_tokens(self._source(base))) if path else set()
        for name in names:
            submodule = f"{base}.{name}"
            if name == "*" and path is not None:
                yield from (f"{base}.{inner.stem}" for inner in path.parent.glob("[!_]*.py") if package)
            elif self._file(submodule) is not None:
                yield submodule
                if name not in mentioned:
                    continue
            yield base


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, which never run."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


if __name__ == "__main__":
    raise SystemExit(main())
