"""The `class_gaussians` unit: where each class's DDIM-inverted latents lie at one noise level.

Belongs here: planning it, keeping the table. Does not belong: the inversion (diffusion/inversion.py).
"""

from __future__ import annotations

from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.methods.request import ClassGaussians
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import generator as generator_unit
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import read_columns, write_columns

GAUSSIANS = "gaussians.parquet"
ASKED = ("steps", "start_level", "condition", "prompt")
"""Fields of a method's parameters on which the distributions depend."""


def key_of(parameters: Any) -> str:
    """The name of the unit that these parameters read, such as 'small/50@0.0172'."""
    named = f"{parameters.generator}/{parameters.steps}@{parameters.start_level:g}"
    return named if parameters.condition == "class" else f"{named} {parameters.prompt}"


def plan(chosen: Setting, dataset: Manifest, generator: Manifest, parameters: Any, label: str) -> Unit:
    """The distributions that a method with these parameters starts from, in the latents of its generator."""
    inputs = {"dataset": dataset, "generator": generator}
    return Unit(
        name="class_gaussians",
        version=kind_of("class_gaussians").version,
        parameters={"classes": len(chosen.classes), **{name: getattr(parameters, name) for name in ASKED}},
        inputs={key: manifest.content for key, manifest in inputs.items()},
        sources={key: manifest.recipe_digest for key, manifest in inputs.items()},
        seed=None,
        setting=chosen.name,
        label=label,
    )


def compute(unit: Unit, work: Work) -> Product:
    """Invert every training image; a row per class."""
    from dd_assets.diffusion.contract import Sampling
    from dd_assets.diffusion.generate import conditions
    from dd_assets.diffusion.inversion import class_gaussians
    from dd_assets.synthesis.batches import Batch

    given = unit.parameters
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    loaded = generator_unit.load(work)
    labels = np.arange(given["classes"])
    how = Sampling(**{name: given[name] for name in ASKED})
    asked, _ = conditions(loaded, Batch(np.zeros_like(labels), labels), how)
    schedule = loaded.schedule(how.steps)
    made = class_gaussians(loaded, train, asked, schedule, how.start_level, progress=work.progress)
    columns = {"label": labels, "mean": made.means, "deviation": made.deviations}
    hasher = ContentHasher("class_gaussians").value("level", made.level)
    for name, values in columns.items():
        hasher.array(name, values)
    finite = bool(np.isfinite(made.means).all() and np.isfinite(made.deviations).all())
    return Product(
        content=hasher.hexdigest(),
        payloads={GAUSSIANS: write_columns({**columns, "level": np.full(len(labels), made.level)})},
        verdicts=(
            Verdict(
                name="finite",
                passed=finite,
                blocking=True,
                message=f"{len(labels)} distributions, {'all' if finite else 'not all'} finite",
            ),
            Verdict(
                name="nearly_normal",
                passed=bool(0.5 < np.sqrt((made.means**2 + made.deviations**2).mean()) < 2),
                blocking=False,
                message=f"root mean square {np.sqrt((made.means**2 + made.deviations**2).mean()):.3f}; 1 is noise",
            ),
        ),
        summary={
            "rows": len(labels),
            "shape": list(made.means.shape[1:]),
            "level": round(made.level, 6),
            "spread_of_means": round(float(made.means.std()), 4),
            "mean_deviation": round(float(made.deviations.mean()), 4),
        },
    )


def load(work: Work, input_name: str = "class_gaussians") -> ClassGaussians:
    """The distributions that are a unit's input."""
    columns = read_columns(work.input_bytes(input_name, GAUSSIANS))
    return ClassGaussians(means=columns["mean"], deviations=columns["deviation"], level=float(columns["level"][0]))
