"""Health checks a person runs before trusting a machine.

Belongs here: quick examinations with a one-line finding each. Does not belong: repairs.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import unicodedata
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_assets.errors import DDError, InputError
from dd_assets.writing import writing

if TYPE_CHECKING:
    from dd_assets.datasets.setting import Setting
    from dd_resources.raw_data import RawData


LONGEST_NAME = 60
"""Characters of a suggested name, of the 64 that a setting's may have (datasets/user_settings.NAME)."""


def examine() -> list[dict[str, Any]]:
    """One row {check, ok, detail} per examination.

    Nothing is computed. To see that they can be written, the store is created if it is new, and files that are removed
    again are written to it and to where the Dagster instance is or will be.
    """
    from dd_assets.datasets.registry import settings

    checks: list[tuple[str, Callable[[], str]]] = [
        ("store", _store),
        ("device", _device),
        ("executor", _executor),
        ("methods", _methods),
        ("dagster instance", _instance),
        *((f"dataset {name}", lambda name=name: _dataset(name)) for name in settings()),  # type: ignore[misc]
        *(
            (f"generators of {entry.name}", lambda entry=entry: _generators(entry))  # type: ignore[misc]
            for entry in settings().values()
            if generator_folders(entry)
        ),
    ]
    return [_row(name, check) for name, check in checks]


def examine_folder(folder: str, target: str | None) -> list[dict[str, Any]]:
    """One row per finding on a folder of images below DD_DATA_ROOT; with `target` a suggested setting is written there.

    None is written where a class has no readable image. Raises InputError for another layout than
    <folder>/<split>/<class>, and before anything is read where `target` exists or is in no folder that can be written.
    """
    from dd_assets.datasets.survey import as_yaml, rows, survey

    if target and Path(target).exists():
        raise InputError(f"{target} exists", "name a new file; nothing is written over")
    # Before the survey, which opens every image.
    if target and not os.access(Path(target).absolute().parent, os.W_OK | os.X_OK):
        parent = Path(target).absolute().parent
        raise InputError(f"{parent} is no folder that can be written to", "name a file in one that can")
    found = survey(os.environ.get("DD_DATA_ROOT", ""), folder)
    listed = [{"check": what, "ok": ok, "detail": detail} for what, ok, detail in rows(found)]
    if target and found.empty:
        detail = f"not written: no image in {', '.join(found.empty[:12])} → mend that, then run this again"
        listed.append({"check": "setting", "ok": False, "detail": detail})
    elif target:
        name = _setting_name(Path(folder).name or Path(os.environ.get("DD_DATA_ROOT", "")).name)
        Path(target).write_text(as_yaml(name, found), encoding="utf-8")
        listed.append({"check": "setting", "ok": True, "detail": f"{name}, written to {target}; set DD_DATASETS to it"})
    return listed


def _setting_name(text: str) -> str:
    """The text as a setting's name: letters without accents and digits, all else '_', and no name that is taken."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub("[^A-Za-z0-9_]+", "_", plain).strip("_")[:LONGEST_NAME] or "images"
    # The one setting that is there without a file.
    return f"{name}_2" if name == "digits" else name


def generator_folders(chosen: Setting) -> dict[str, str]:
    """Field of the setting's `generators` to the folder from elsewhere that it names, as stated."""
    stated = chosen.generators
    recipes = {"small": stated.small, "text": stated.text}
    encoders = {
        f"{name}: text_encoder": recipe.text_encoder
        for name, recipe in recipes.items()
        if recipe and recipe.reads == "text"
    }
    folder = stated.pretrained.folder if stated.pretrained else ""
    named = {"pretrained": folder, "language_model": stated.language_model, **encoders}
    return {field: folder for field, folder in named.items() if folder}


def _row(name: str, check: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "detail": check()}
    except DDError as error:
        return {"check": name, "ok": False, "detail": str(error)}


def _store() -> str:
    from dd_resources.injection import store_root
    from dd_resources.store import ArtefactStore

    store = ArtefactStore(store_root()).open()
    probe = f"work/doctor/{uuid.uuid4().hex}"
    store.put_if_absent(probe, b"probe")
    store.remove(probe)
    free = f", {shutil.disk_usage(store.root).free / 1e9:.0f} GB free" if store.is_local else ""
    return f"{store.root}: {len(store.list('manifests'))} results{free}"


def _instance() -> str:
    """Where the Dagster instance is, or will be; raises InputError where nothing can be written there."""
    stated = os.environ.get("DAGSTER_HOME")
    home = Path(stated or ".dd/dagster").absolute()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    with writing(f"{home} cannot be written", "set DAGSTER_HOME to a folder that can be created and written"):
        tempfile.TemporaryFile(dir=there).close()
    return f"{stated or '.dd/dagster (default)'}{'' if there == home else ', made when it is first needed'}"


def _device() -> str:
    import torch

    from dd_resources.compute import Compute, exclusive_threads

    compute = Compute(exclusive_threads=exclusive_threads())
    return f"{compute.resolved_device()}, {compute.resolved_workers()} workers, torch {torch.__version__}"


def _executor() -> str:
    from dd_resources.execution import executor, executor_name, step_tags
    from dd_resources.injection import store_root

    executor(store_root())
    step_tags(networks=True)
    return executor_name()


def _methods() -> str:
    """How many methods there are; raises InputError for a package or recipe file that cannot be one."""
    from dd_assets.methods.registry import METHODS

    own = f", with those of {os.environ['DD_RECIPES']}" if os.environ.get("DD_RECIPES") else ""
    return f"{len(METHODS())}{own}"


def _generators(chosen: Setting) -> str:
    """The folders named, once each holds its files; raises InputError for the first that does not."""
    from dd_assets.diffusion.prompt_bank import model_files
    from dd_assets.diffusion.text import encoder_files
    from dd_assets.units.prompted import folder_path
    from dd_resources.raw_data import RawData

    raw, found = RawData(os.environ.get("DD_DATA_ROOT", "")), []
    for field, folder in generator_folders(chosen).items():
        note = ""
        if field == "pretrained":
            note = _pretrained(chosen, raw)
        else:
            path = _existing(field, folder_path(raw, folder))
            (model_files if field == "language_model" else encoder_files)(path)
        found.append(f"{field} {folder}{note}")
    return ", ".join(found)


def _pretrained(chosen: Setting, raw: RawData) -> str:
    """What is to be said of a pre-trained generator whose files are there, or can be fetched."""
    from dd_assets.diffusion.hub import hub_source, ready
    from dd_assets.diffusion.layout import generator_files
    from dd_assets.units.prompted import folder_path

    stated = chosen.generators.pretrained
    assert stated is not None
    source = hub_source(stated)
    if source is None:
        generator_files(_existing("pretrained", folder_path(raw, stated.folder)), stated.variant)
        return ""
    where = "in the cache" if ready(source) else "fetched when it is first used"
    return f" at {source.revision[:12]}, {where}"


def _existing(field: str, path: Path) -> Path:
    if not path.is_dir():
        raise InputError(
            f"generators, {field}: folder {path} does not exist",
            "correct the setting, or download the folder (docs/generators.md)",
        )
    return path


def _dataset(name: str) -> str:
    import numpy as np

    from dd_assets.planning.cells import Cell
    from dd_resources.raw_data import RawData

    # By its partition, as commands look for it.
    chosen = Cell.of(name).setting
    raw = RawData(os.environ.get("DD_DATA_ROOT", ""))
    raw.fingerprint(chosen)
    train, test = raw.load(name)
    counts = np.bincount(train.labels, minlength=len(chosen.classes))
    return f"{len(train)} train, {len(test)} test, {counts.min()} to {counts.max()} per class, {chosen.size} px"
