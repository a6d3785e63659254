"""Which methods exist.

Belongs here: finding every recipe in the package and in plug-ins; light, no torch. Does not belong: the methods.

A method is a package `dd_assets.methods.<name>` whose `recipe.py` exports METHOD (and VARIANTS, if some of its
parameter choices deserve rows of their own), an entry point of the group
`dd_assets.methods` in any installed distribution that loads a `Method`, or a recipe file in the folder that DD_RECIPES
names (dd_assets/sweeps/compositions.py).
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from dd_assets import methods as package
from dd_assets.errors import InputError, UnknownNameError, cause_in
from dd_assets.methods.contract import Method

GROUP = "dd_assets.methods"
RESERVED = ("class_centroids", "data", "datasets", "generators", "reference_latents", "report", "studies", "teachers")
"""Names of the graph's other groups and jobs: each method has a group and a job of its own name."""


def _declared() -> Iterator[tuple[str, object]]:
    """Where each declaration stands and what it declares, built-in methods first."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        recipe = f"{module.name}.recipe"
        if module.ispkg and importlib.util.find_spec(recipe) is not None:
            loaded = importlib.import_module(recipe)
            yield recipe, getattr(loaded, "METHOD", None)
            yield from ((recipe, other) for other in getattr(loaded, "VARIANTS", ()))
    for entry in entry_points(group=GROUP):
        yield _origin(entry), _load(entry)


def _origin(entry: EntryPoint) -> str:
    owner = f" of {entry.dist.name}" if entry.dist else ""
    return f"entry point {entry.name} = {entry.value}{owner}"


def _load(entry: EntryPoint) -> object:
    """What an entry point names; raises InputError with the file, the line and the error of a package that is wrong."""
    try:
        return entry.load()
    except Exception as error:
        # Somebody else's module may raise anything when it is imported.
        cause = cause_in(entry.value.partition(":")[0].partition(".")[0], error)
        owner = entry.dist.name if entry.dist else "its package"
        raise InputError(f"{_origin(entry)} cannot be loaded: {cause}", f"correct it, or uninstall {owner}") from error


def require_free(name: str, where: str = "") -> None:
    """Raise InputError for a name of RESERVED; `where` begins the line."""
    if name in RESERVED:
        raise InputError(f"{where}no method can be called {name!r}", "rename it; a job or group of the graph has it")


def _require_recipes(origin: str, declared: Method) -> None:
    """Raise InputError for recipes without the default one, or whose parameters are no instance of a dataclass."""
    if not isinstance(declared.recipes, Mapping) or "default" not in declared.recipes:
        raise InputError(
            f"{origin}: method {declared.name!r} has no recipe 'default'",
            'write recipes={"default": Recipe(...)}; it serves every dataset without one of its own',
        )
    for data, recipe in declared.recipes.items():
        given = getattr(recipe, "parameters", None)
        if not dataclasses.is_dataclass(given) or isinstance(given, type):
            raise InputError(
                f"{origin}: recipe {data!r} of method {declared.name!r} has no parameters",
                "write Recipe(parameters=Parameters(...), source=...) with a frozen dataclass Parameters",
            )


@cache
def METHODS() -> dict[str, Method]:  # a constant in all but the time at which it is read
    """Every method by name, sorted.

    Raises InputError where a plug-in cannot be imported, a declaration is not a Method or lacks recipes, or a name is
    taken or reserved.
    """
    found: dict[str, Method] = {}
    origins: dict[str, str] = {}

    def add(origin: str, declared: object) -> None:
        if not isinstance(declared, Method):
            raise InputError(f"{origin} declares no Method", "export METHOD = Method(...) from its recipe.py")
        require_free(declared.name, f"{origin}: ")
        _require_recipes(origin, declared)
        if declared.name in found:
            raise InputError(
                f"{origin} declares method {declared.name!r}, which {origins[declared.name]} already does",
                "rename one of them",
            )
        found[declared.name], origins[declared.name] = declared, origin

    for origin, declared in _declared():
        add(origin, declared)
    folder = os.environ.get("DD_RECIPES")
    if folder:
        from dd_assets.sweeps.compositions import composed

        for origin, declared in composed(folder, dict(found)):
            add(origin, declared)
    return dict(sorted(found.items()))


def method(name: str) -> Method:
    """The method of that name; raises UnknownNameError."""
    known = METHODS()
    if name not in known:
        own = "one of your own is known after `pip install -e FOLDER`"
        raise UnknownNameError.of("method", name, known, f"`dd-assets methods` lists them; {own}")
    return known[name]
