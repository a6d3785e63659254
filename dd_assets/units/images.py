"""The `images/<method>` units: shards of synthetic images.

Belongs here: cutting a draw into shards, calling a method's synthesis, its verdicts. Does not belong: any method.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.windows import steps_meant
from dd_assets.lazy import np
from dd_assets.methods.contract import Facts, Method
from dd_assets.methods.registry import method as method_named
from dd_assets.methods.request import Influence, Request, SyntheticImages
from dd_assets.planning.digests import ContentHasher, plain
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import (
    centroids,
    class_gaussians,
    class_gradients,
    generator,
    image_set,
    priors,
    prompt_bank,
    reference_latents,
    statistics,
    surrogate,
)
from dd_assets.units import teacher as teacher_unit
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation
from dd_assets.units.tables import IMAGES, write_images

_NOT_IN_RECIPE = ("setting", "train_counts", "committee", "generators")
"""Facts that a unit's inputs hold, or that change nothing: a further committee member must not touch the others."""


def plan(
    method: Method,
    chosen: Setting,
    facts: Facts,
    ipc: int,
    inputs: Sequence[Mapping[str, Manifest]],
    parameters: Any,
) -> list[list[Unit]]:
    """The shards of every draw of a cell, given each draw's inputs; the cell must apply (Method.reason_against)."""
    per_index = method.shards_by_index(parameters)
    pool = list(method.pool(parameters, facts))
    bounds = [(k, k + 1) for k in range(ipc)] if per_index else [(0, ipc)]
    return [
        [
            Unit(
                name=f"images/{method.name}",
                version=kind_of(f"images/{method.name}").version,
                parameters={
                    "method": plain(parameters),
                    "facts": {key: value for key, value in plain(facts).items() if key not in _NOT_IN_RECIPE},
                    "first": first,
                    "last": last,
                    **({} if per_index else {"ipc": ipc}),
                    **({"pool": pool} if pool else {}),
                },
                inputs={name: manifest.content for name, manifest in inputs[draw].items()},
                seed=draw,
                sources={name: manifest.recipe_digest for name, manifest in inputs[draw].items()},
                setting=chosen.name,
                label=f"{method.name}/synthetic_images {chosen.name}|{ipc}",
            )
            for first, last in bounds
        ]
        for draw in range(len(inputs))
    ]


def compute(unit: Unit, work: Work) -> Product:
    """Run the method's synthesis for one shard."""
    method = method_named(unit.name.split("/", 1)[1])
    module, function = method.synthesis.split(":")
    synthesise = getattr(importlib.import_module(module), function)
    given = unit.parameters
    facts = _facts(unit, work)
    loaded = functools.cache(functools.partial(_generator, method, work))
    request = Request(
        facts=facts,
        parameters=_typed(method, given["method"]),
        ipc=given.get("ipc", given["last"]),
        first=given["first"],
        last=given["last"],
        seed=unit.seed or 0,
        train=lambda: work.raw.load(unit.setting, unit.inputs["dataset"])[0],
        teacher=functools.partial(teacher_unit.load, work),
        committee=lambda: {name: teacher_unit.load(work, f"committee/{name}") for name in given["pool"]},
        statistics=functools.partial(statistics.load, work),
        priors=functools.partial(priors.load, work),
        initial=functools.partial(_initial, work, given["first"], given["last"], len(facts.classes)),
        generator=loaded,
        centroids=functools.partial(centroids.load, work),
        reference_latents=functools.partial(reference_latents.load, work),
        class_gaussians=functools.partial(class_gaussians.load, work),
        prompts=functools.partial(prompt_bank.load, work),
        influence=lambda: Influence(
            networks=surrogate.load(work), gradients=functools.partial(class_gradients.load, work)
        ),
        device=work.device,
        checkpoints=work.checkpoints,
        progress=work.progress,
    )
    made: SyntheticImages = synthesise(request)
    hasher = ContentHasher("images").array("images", made.images).array("labels", made.labels)
    for name, values in made.columns.items():
        hasher.array(f"column/{name}", values)
    return Product(
        content=hasher.hexdigest(),
        payloads={IMAGES: write_images(made.images, made.labels, facts.classes, made.columns)},
        verdicts=_verdicts(made, request),
        summary={"rows": len(made.labels), "columns": sorted(made.columns)},
        measurements={
            "curves": {name: [float(v) for v in values] for name, values in made.curves.items()},
            **_steps(method, request.parameters, loaded),
        },
    )


def _generator(method: Method, work: Work) -> Any:
    """The generator; one that gradients are taken through decodes in float32, whatever its folder's precision."""
    loaded = generator.load(work)
    return loaded.with_exact_decoder() if "decoder" in method.through else loaded


def _steps(method: Method, parameters: Any, loaded: Callable[[], Any]) -> dict[str, Any]:
    """`steps_meant`: which of the generator's steps the signal levels are; {} for a method without them."""
    if not method.needs.generator or not isinstance(parameters, Sampling):
        return {}
    return {"steps_meant": steps_meant(parameters, loaded().schedule(parameters.steps))}


def _initial(work: Work, first: int, last: int, classes: int) -> np.ndarray:
    """Rows (index, class) of the IPC indices `first` to `last` - 1 of the image set to start from."""
    images, _ = image_set.load(work, "initial")
    return images[first * classes : last * classes]


def _facts(unit: Unit, work: Work) -> Facts:
    # All of the recipe's: the settings file may have been edited since, or be another one on this machine.
    stated = unit.parameters["facts"]
    counts: tuple[int, ...] = ()
    if "dataset" in unit.inputs:
        train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
        counts = tuple(np.bincount(train.labels, minlength=len(stated["classes"])).tolist())
    return Facts(
        setting=unit.setting,
        classes=tuple(stated["classes"]),
        train_counts=counts,
        size=stated["size"],
        channels=stated["channels"],
        normalisation=typed_normalisation(stated["normalisation"]),
        hflip=stated["hflip"],
    )


def _typed(method: Method, stated: Mapping[str, Any]) -> Any:
    """The method's own parameter type from its JSON form; lists become tuples again."""
    kind = type(method.recipe_for("default").parameters)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in plain(stated).items()})


def _verdicts(made: SyntheticImages, request: Request) -> tuple[Verdict, ...]:
    facts, rows = request.facts, (request.last - request.first) * len(request.facts.classes)
    expected_shape = (rows, facts.size, facts.size, facts.channels)
    counts = np.bincount(made.labels, minlength=len(facts.classes))
    shape_fits = made.images.shape == expected_shape and made.images.dtype == np.uint8
    return (
        Verdict(
            name="class_balance",
            passed=bool((counts == request.last - request.first).all()),
            blocking=True,
            message=f"{counts.min()} to {counts.max()} images per class, {request.last - request.first} wanted",
        ),
        Verdict(
            name="pixels_in_range",
            passed=shape_fits and bool(np.ptp(made.images) > 0),
            blocking=True,
            message=f"{made.images.dtype} {made.images.shape}, values {made.images.min()} to {made.images.max()}",
        ),
    )
