"""PRISM-DFKD: images from diversified prompts, led by the teacher's energy.

Belongs here: which prompt an image gets, the columns that say so. Does not belong: the energy (diffusion/energy.py),
the loop (diffusion/sampling.py), what prompts are made of (units/prompt_bank.py), numbers (recipe.py).

Source: arXiv 2509.16897, from its abstract and summaries alone; no code was published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from dd_assets import randomness
from dd_assets.diffusion.energy import EnergyGuidance, energy
from dd_assets.diffusion.generate import Prompts, generate
from dd_assets.diffusion.wording import Bank, compose, words
from dd_assets.methods.prism_dfkd.recipe import Parameters
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.outputs import logits_of


def combination(bank: Bank, index: int, label: int, seed: int) -> int:
    """Which content and style image `index` of a class has: a seeded order of all of them, without repetition.

    Only when a class has more images than combinations does the order begin again.
    """
    count = bank.combinations(label)
    return int(randomness.permutation(count, seed, "prism_dfkd", "prompt", label)[index % count])


def prompt_of(bank: Bank, classes: Sequence[str], template: str, index: int, label: int, seed: int) -> str:
    """The class in its template, what it is, a content and a style, divided by commas."""
    subject = template.replace("{name}", words(classes[label]))
    return compose(subject, bank.definitions[label], *bank.phrases(label, combination(bank, index, label, seed)))


def prompts_from(bank: Bank, classes: Sequence[str], parameters: Parameters, seed: int) -> Prompts:
    """One prompt per row, by IPC index and class alone."""

    def asked(rows: Batch) -> list[str]:
        pairs = zip(rows.indices, rows.labels, strict=True)
        return [prompt_of(bank, classes, parameters.prompt, int(i), int(c), seed) for i, c in pairs]

    return asked


def synthesise(request: Request) -> SyntheticImages:
    """Sample under diversified prompts and the teacher's energy.

    Columns: energy, the teacher's -logsumexp of the finished image, float64; and, with diversified prompts, prompt, the
    number of the content and style in the class's bank, int64.
    """
    parameters, facts = request.parameters, request.facts
    teacher = request.teacher()
    guidance = EnergyGuidance(
        teacher,
        facts.normalisation,
        parameters.strength,
        parameters.level_low,
        parameters.level_high,
        class_weight=parameters.class_weight,
        unit_norm=parameters.unit_norm,
    )
    bank = request.prompts() if parameters.diversify else None
    asked = None if bank is None else prompts_from(bank, facts.classes, parameters, request.seed)
    made = generate(request, [guidance], own_prompts=asked)
    logits = logits_of(teacher, made.images, facts.normalisation, request.device)
    columns = {"energy": energy(logits, torch.from_numpy(made.labels), 0.0).double().cpu().numpy()}
    if bank is not None:
        rows = zip(made.rows.indices, made.rows.labels, strict=True)
        numbers = [combination(bank, int(index), int(label), request.seed) for index, label in rows]
        columns["prompt"] = np.array(numbers, dtype=np.int64)
    return replace(made, columns={**made.columns, **columns})
