"""The `generator` and `generator_samples` units: a generator, and what it draws.

Belongs here: planning and running the training or the look at a folder, the verdicts, loading a generator for other
units. Does not belong: layers and loops (dd_assets/diffusion), which generators a setting has (planning/generators.py).

They are two units so that another teacher, who only judges the samples, leaves the generator and all that was made
with it alone.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dd_assets.datasets import registry
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.classes import ClassRow, class_rows
from dd_assets.diffusion.hub import hub_source
from dd_assets.diffusion.layout import generator_files, reads_text
from dd_assets.diffusion.registry import GeneratorRecipe, PretrainedFolder
from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.methods.contract import with_overrides
from dd_assets.planning.digests import ContentHasher, plain, text_digest
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units.generator_place import folder_rows, place_again, place_of
from dd_assets.units.kinds import kind_of
from dd_assets.units.prompted import checked, encoder_input, named, prompted, text_metadata
from dd_resources.raw_data import RawData, file_digest

GENERATOR = "generator.safetensors"
"""The payload of a generator that was trained here, fine-tuned ones too."""
FOLDER = "folder.json"
"""The payload of a pre-trained one: where its folder is and the digests of its files."""
NOT_IN_RECIPE = ("source", "cost", "guidance_scale", "recognition_floor")


def plan(
    chosen: Setting,
    recipe: GeneratorRecipe,
    images: Setting,
    dataset: Manifest,
    overrides: Mapping[str, Any],
    name: str,
    raw: RawData | None = None,
) -> Unit:
    """The unit that trains a generator for `chosen` on the images of `images`, whose `dataset` manifest is given.

    `raw` says where the folder of a text encoder lies. Raises InputError where the two settings' classes do not agree
    or that folder is incomplete, or for an override outside its range, UnknownNameError for an unknown one.
    """
    stated = with_overrides(recipe, overrides, f"generator {name} of {chosen.name}")
    known = {title: number for number, title in enumerate(images.classes)}
    rows = class_rows(chosen.classes, known, f"{chosen.name}, trained on {images.name}")
    parameters = {key: value for key, value in plain(stated).items() if key not in NOT_IN_RECIPE}
    return Unit(
        name="generator",
        version=kind_of("generator").version,
        parameters={
            **parameters,
            **_known(chosen, rows),
            "trained_classes": list(images.classes),
            "hflip": stated.hflip and images.hflip,
            **prompted(stated, images),
        },
        inputs={"dataset": dataset.content, **encoder_input(stated, raw)},
        seed=0,
        sources={"dataset": dataset.recipe_digest},
        setting=images.name,
        label=f"generator {name} {chosen.name}",
    )


def plan_folder(chosen: Setting, stated: PretrainedFolder, raw: RawData, fetch: bool = True) -> Unit:
    """The unit that takes a pre-trained folder as it is, wherever it comes from.

    Raises InputError naming what is missing in it; with `fetch` False MissingFiles where the hub has to be asked.
    """
    path = place_of(raw, stated, fetch)
    files = generator_files(path, stated.variant)
    text = reads_text(path)
    rows = folder_rows(chosen, stated, text)
    digests = {str(file.relative_to(path)): file_digest(file) for file in files}
    return Unit(
        name="generator",
        version=kind_of("generator").version,
        parameters={
            "pretrained": True,
            "text": text,
            "precision": stated.precision,
            "variant": stated.variant,
            **_known(chosen, rows),
        },
        inputs={"folder": text_digest(digests)},
        setting=chosen.name,
        label=f"generator pretrained {chosen.name}",
    )


def _known(chosen: Setting, rows: Sequence[ClassRow]) -> dict[str, Any]:
    return {
        "classes": list(chosen.classes),
        "class_ids": [row.generator_class for row in rows],
        "size": chosen.size,
        "channels": chosen.channels,
    }


def compute(unit: Unit, work: Work) -> Product:
    """Train (resumable), or check the folder's files once more."""
    return _import(unit, work) if unit.parameters.get("pretrained") else _train(unit, work)


def _import(unit: Unit, work: Work) -> Product:
    stated = registry.setting(unit.setting).generators.pretrained
    assert stated is not None, f"{unit.setting} lost its pre-trained generator after it was planned"
    path = place_of(work.raw, stated)
    files = generator_files(path, stated.variant)
    digests = {str(file.relative_to(path)): file_digest(file) for file in files}
    if text_digest(digests) != unit.inputs["folder"]:
        raise InputError(f"generator folder {path} changed after it was planned", "start again")
    given = unit.parameters
    source = hub_source(stated)
    described = {
        "folder": stated.folder,
        "files": digests,
        "given": plain(given),
        **({"revision": source.revision} if source else {}),
    }
    return Product(
        content=ContentHasher("generator").value("files", digests).value("given", plain(given)).hexdigest(),
        payloads={FOLDER: json.dumps(described, sort_keys=True).encode()},
        summary={
            "source": str(source or f"folder {stated.folder}"),
            "revision": stated.revision,
            "bytes": sum(file.stat().st_size for file in files),
            "text": given["text"],
        },
    )


def _train(unit: Unit, work: Work) -> Product:
    from dd_assets.diffusion.producing import train_generator
    from dd_assets.diffusion.weights import pack_generator, to_bytes
    from dd_assets.report.pictures import curve_svg

    given = unit.parameters
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    made = train_generator(
        train,
        recipe_of(given),
        classes=len(given["trained_classes"]),
        size=given["size"],
        channels=given["channels"],
        seed=unit.seed or 0,
        device=work.device,
        checkpoints=work.checkpoints,
        progress=work.progress,
        named=named(unit, work),
    )
    text = text_metadata(unit)
    metadata = {
        "scheduler": made.scheduler,
        **{name: plain(given[name]) for name in ("classes", "class_ids", "trained_classes", "size", "channels")},
        **({} if text is None else {"text": text}),
    }
    state, metadata = pack_generator(made.transformer, made.autoencoder, metadata)
    hasher = ContentHasher("generator").value("facts", metadata)
    for name, tensor in state.items():
        hasher.array(name, tensor.detach().cpu().numpy())
    curves = {name: smoothed(values) for name, values in made.losses.items()}
    series = {name: (xs, ys) for name, (xs, ys) in curves.items() if len(ys)}
    return Product(
        content=hasher.hexdigest(),
        payloads={
            GENERATOR: to_bytes(state, metadata),
            "curve.svg": curve_svg(series, "Generator training", "iteration", "loss").encode(),
        },
        verdicts=_verdicts(made.losses["denoiser"], made.psnr, given["space"]),
        summary={
            "source": f"trained here on {unit.setting}",
            "space": given["space"],
            "parameters": sum(tensor.numel() for tensor in state.values()),
            "reconstruction_psnr": round(made.psnr, 2),
            "final_loss": float(np.mean(made.losses["denoiser"][-100:])),
            **({} if text is None else {"text": True}),
        },
    )


def recipe_of(given: Mapping[str, Any]) -> GeneratorRecipe:
    """The typed recipe in a unit's parameters."""
    names = [entry.name for entry in fields(GeneratorRecipe) if entry.name in given]
    stated: dict[str, Any] = {name: plain(given[name]) for name in names}
    stated["autoencoder_channels"] = tuple(stated["autoencoder_channels"])
    return GeneratorRecipe(**stated)


def smoothed(losses: np.ndarray) -> tuple[list[float], list[float]]:
    """At most 100 points, each the mean over its share of the iterations."""
    parts = np.array_split(losses, min(100, len(losses))) if len(losses) else []
    ends = np.cumsum([len(part) for part in parts])
    return [float(end) for end in ends], [float(part.mean()) for part in parts]


def _verdicts(losses: np.ndarray, psnr: float, space: str) -> tuple[Verdict, ...]:
    learnt = float(np.mean(losses[-100:])) if len(losses) else 1.0
    return (
        Verdict(
            name="learnt",
            passed=bool(np.isfinite(losses).all()) and learnt < 1.0,
            blocking=True,
            message=f"MSE of the noise {learnt:.4f} at the end; predicting nothing gives 1",
            figures={"loss": learnt},
        ),
        Verdict(
            name="reconstruction",
            passed=space == "pixels" or psnr >= 24,
            blocking=False,
            message="no autoencoder" if space == "pixels" else f"autoencoder's PSNR {psnr:.1f} dB, 24 dB wanted",
            figures={"psnr": round(psnr, 3)} if space != "pixels" else {},
        ),
    )


@functools.lru_cache(maxsize=2)
def _loaded(data: bytes, device: str, raw: RawData) -> Any:
    from dd_assets.diffusion.weights import from_bytes

    return from_bytes(data, device, lambda text: checked(raw, text))


@functools.lru_cache(maxsize=1)
def _loaded_folder(path: str, files: str, given: str, device: str) -> Any:
    """`files`: the digests, so that changed ones are loaded again."""
    from dd_assets.diffusion.folders import load_folder

    stated = json.loads(given)
    names = ("variant", "precision", "classes", "class_ids", "size", "channels")
    return load_folder(Path(path), **{name: stated[name] for name in names}, device=device)


def load(work: Work, input_name: str = "generator") -> Any:
    """The frozen generator of a unit's input; raises VerdictError if it may not be used.

    One trained here is a copy for each caller, as teachers are (units/teacher.py). A pre-trained one is shared, for its
    size: callers must not change it in place.
    """
    manifest = work.input(input_name)
    if GENERATOR in manifest.payloads:
        return copy.deepcopy(_loaded(work.store.read(manifest, GENERATOR), work.device, work.raw))
    stated = json.loads(work.store.read(manifest, FOLDER))
    given = stated["given"]
    imported = PretrainedFolder(folder=stated["folder"], revision=stated.get("revision", ""), variant=given["variant"])
    own = registry.settings().get(work.unit.setting)
    path = place_again(work.raw, imported, own.generators.pretrained if own else None, stated["files"])
    return _loaded_folder(str(path), json.dumps(stated["files"]), json.dumps(given), work.device)
