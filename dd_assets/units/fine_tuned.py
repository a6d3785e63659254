"""The `fine_tuned_generator` unit: another generator of the setting, fine-tuned on its images.

Belongs here: planning and running it, its verdict; what it stores is read like any generator trained here
(units/generator.py). Does not belong: the loop (diffusion/finetuning.py), what it draws (units/generator_samples.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import FineTuning
from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.methods.contract import with_overrides
from dd_assets.planning.digests import ContentHasher, plain
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import generator as generator_unit
from dd_assets.units.kinds import kind_of

NOT_IN_RECIPE = ("base", "source", "cost", "guidance_scale", "recognition_floor")
"""The base is an input: two that are the same generator give the same fine-tuning."""


def plan(chosen: Setting, recipe: FineTuning, base: Manifest, dataset: Manifest, overrides: Mapping[str, Any]) -> Unit:
    """The unit that fine-tunes the generator `base`.

    Raises UnknownNameError for an unknown override, InputError for one outside its range and for another base, which is
    an edge of the graph.
    """
    if "base" in overrides:
        raise InputError("the base of a fine-tuning cannot change at launch", "name it in the setting's generators")
    stated = with_overrides(recipe, overrides, f"generator minimax of {chosen.name}")
    parameters = {key: value for key, value in plain(stated).items() if key not in NOT_IN_RECIPE}
    inputs = {"dataset": dataset, "generator": base}
    return Unit(
        name="fine_tuned_generator",
        version=kind_of("fine_tuned_generator").version,
        parameters={**parameters, "hflip": stated.hflip and chosen.hflip},
        inputs={name: manifest.content for name, manifest in inputs.items()},
        seed=0,
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        setting=chosen.name,
        label=f"generator minimax {chosen.name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Fine-tune (resumable) and keep the whole generator, autoencoder included."""
    from dd_assets.diffusion.finetuning import fine_tune
    from dd_assets.diffusion.weights import pack_generator, to_bytes
    from dd_assets.report.pictures import curve_svg

    given, base = unit.parameters, generator_unit.load(work)
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    made = fine_tune(
        base,
        train,
        recipe_of(given),
        unit.seed or 0,
        hflip=given["hflip"],
        checkpoints=work.checkpoints,
        progress=work.progress,
    )
    facts = {
        "scheduler": plain(base.scheduler),
        "classes": list(base.classes),
        "class_ids": list(base.class_ids),
        "size": base.size,
        "channels": base.channels,
    }
    state, metadata = pack_generator(made.transformer, base.autoencoder, facts)
    hasher = ContentHasher("generator").value("facts", metadata)
    for name, tensor in state.items():
        hasher.array(name, tensor.detach().cpu().numpy())
    series = {name: generator_unit.smoothed(values) for name, values in made.losses.items()}
    last = {name: round(float(np.mean(values[-100:])), 4) for name, values in made.losses.items()}
    return Product(
        content=hasher.hexdigest(),
        payloads={
            generator_unit.GENERATOR: to_bytes(state, metadata),
            "curve.svg": curve_svg(series, "Fine-tuning", "iteration", "loss").encode(),
        },
        verdicts=(
            Verdict(
                name="learnt",
                passed=last["denoiser"] < 1.0,
                blocking=True,
                message=f"MSE of the noise {last['denoiser']:.4f} at the end; predicting nothing gives 1",
                figures={"loss": last["denoiser"]},
            ),
        ),
        summary={
            "source": f"fine-tuned here on {unit.setting}",
            "parameters": sum(tensor.numel() for tensor in state.values()),
            "trained": made.trained,
            "final_loss": last["denoiser"],
            "lowest_cosine_to_real": round(1 - last["representativeness"], 4),
            "highest_cosine_to_earlier": last["diversity"],
        },
    )


def recipe_of(given: Mapping[str, Any]) -> FineTuning:
    """The typed recipe in a unit's parameters."""
    names = [entry.name for entry in fields(FineTuning) if entry.name not in NOT_IN_RECIPE]
    return FineTuning(**{name: plain(given[name]) for name in names})
