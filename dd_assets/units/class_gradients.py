"""The `class_gradients` unit: mean gradients of some classes at every kept epoch of the surrogate.

Belongs here: planning and running it, its verdicts, reading one class. Does not belong: the gradients
(synthesis/influence.py), the surrogate (units/surrogate.py).

One unit per range of classes, one file per class: at ImageNet's size all of them are tens of gigabytes, of which an
image needs one class.
"""

from __future__ import annotations

from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import surrogate as surrogate_unit
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation

CLASSES_PER_UNIT = 50
ARRAY = "gradients"


def ranges(classes: int) -> list[tuple[int, int]]:
    """First and last class (exclusive) of each unit."""
    return [(start, min(start + CLASSES_PER_UNIT, classes)) for start in range(0, classes, CLASSES_PER_UNIT)]


def file_of(label: int) -> str:
    """The payload of a class."""
    return f"class{label}.safetensors"


def plan(chosen: Setting, dataset: Manifest, surrogate: Manifest, first: int, last: int) -> Unit:
    """The gradients of the classes `first` to `last` - 1."""
    inputs = {"dataset": dataset, "surrogate": surrogate}
    return Unit(
        name="class_gradients",
        version=kind_of("class_gradients").version,
        parameters={
            "first": first,
            "last": last,
            "images": surrogate.summary["images"],
            "normalisation": chosen.normalisation,
        },
        inputs={name: manifest.content for name, manifest in inputs.items()},
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        seed=0,
        setting=chosen.name,
        label=f"class_gradients {chosen.name} {first} to {last - 1}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """For each class the mean gradient at every kept epoch, float32 (epochs, parameters)."""
    from safetensors.numpy import save

    from dd_assets.synthesis.influence import class_gradient

    given, networks = unit.parameters, surrogate_unit.load(work)
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    normalisation = typed_normalisation(given["normalisation"])
    hasher, payloads, norms = ContentHasher("class_gradients"), {}, []
    for label in range(given["first"], given["last"]):
        found = [
            class_gradient(network, train, label, given["images"], normalisation, unit.seed or 0, work.device)
            for network in networks
        ]
        rows = np.stack([gradient.cpu().numpy() for gradient in found])
        norms.append(np.linalg.norm(rows, axis=1))
        hasher.array(str(label), rows)
        payloads[file_of(label)] = save({ARRAY: rows})
    return Product(
        content=hasher.hexdigest(),
        payloads=payloads,
        verdicts=(_verdict(np.stack(norms)),),
        summary={"rows": len(norms), "epochs": len(networks), "parameters": rows.shape[1]},
    )


def _verdict(norms: np.ndarray) -> Verdict:
    return Verdict(
        name="gradients_have_length",
        passed=bool(np.isfinite(norms).all() and (norms > 0).all()),
        blocking=True,
        message=f"lengths {norms.min():.3g} to {norms.max():.3g}; a cosine to nothing means nothing",
    )


def load(work: Work, label: int) -> np.ndarray:
    """The gradients of one class, float32 (epochs, parameters), from whichever input of the unit holds it."""
    from safetensors.numpy import load as read

    for name in work.unit.inputs:
        if name.startswith("gradients/") and file_of(label) in work.input(name).payloads:
            return read(work.input_bytes(name, file_of(label)))[ARRAY]
    raise KeyError(label)
