"""The `teacher` unit: a classifier trained here, or imported from a file, with its measured accuracy.

Belongs here: planning it, running the training or import, its verdicts. Does not belong: networks and training loops
(dd_assets/models).
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.setting import Setting, TeacherChoice
from dd_assets.errors import InputError
from dd_assets.methods.contract import with_overrides
from dd_assets.models.registry import TeacherRecipe, architecture
from dd_assets.planning.digests import ContentHasher, plain, text_digest
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units.kinds import kind_of
from dd_resources.raw_data import RawData, file_digest

CHECKPOINT = "teacher.safetensors"
AS_STUDENT = "student_test_accuracy"
"""In the summary of a teacher whose students see other test images than it."""


def plan(
    setting: Setting,
    dataset: Manifest,
    raw: RawData,
    overrides: Mapping[str, Any],
    choice: TeacherChoice | None = None,
) -> Unit:
    """The unit that trains or imports a setting's teacher, or one member of its committee (`choice`)."""
    choice = choice or setting.teacher
    recipe = with_overrides(choice.recipe, overrides, f"teacher {choice.key} of {setting.name}")
    parameters = plain(recipe)
    parameters.pop("source")
    inputs = {"dataset": dataset.content}
    parameters |= recipe.layout
    if choice.weights:
        parameters = {"imported": True, "accuracy_floor": recipe.accuracy_floor}
        inputs["weights"] = _weights_digest(raw, choice.weights)
    return Unit(
        name="teacher",
        version=kind_of("teacher").version,
        parameters={
            "architecture": choice.architecture,
            "classes": setting.classes,
            "normalisation": setting.normalisation,
            "channels": setting.channels,
            "size": setting.size,
            **architecture(choice.architecture).stated_form(setting.size),
            **parameters,
        },
        inputs=inputs,
        seed=choice.seed,
        sources={"dataset": dataset.recipe_digest},
        setting=setting.name,
        label=f"teacher {setting.name} {choice.key}",
    )


def accuracy_as_student(made: Manifest) -> float:
    """Top-1 in [0, 1] on the test images as students see them: resized from 56 px on (evaluation/accuracy.py).

    Of larger teachers stored before 2026-11-24 it is that on the images as they are, which is all that is known.
    """
    return float(made.summary.get(AS_STUDENT, made.summary["test_accuracy"]))


def examine(choices: Iterable[TeacherChoice], raw: RawData) -> None:
    """Raise InputError or UnknownNameError for a weights file that does not exist and for published weights that no
    library knows: told before anything is trained.
    """
    from dd_assets.models import pretrained

    for choice in choices:
        if choice.weights and pretrained.is_published(choice.weights):
            pretrained.examine(choice.weights, choice.architecture)
        elif choice.weights:
            _weights_digest(raw, choice.weights)


def _weights_digest(raw: RawData, name: str) -> str:
    """sha256 of a weights file, or of the name of published ones; raises InputError for a file that does not exist."""
    if name.startswith(("torchvision:", "timm:")):
        return text_digest(name)
    path = Path(raw.root) / name
    if not path.is_file():
        raise InputError(f"teacher file {path} does not exist", "check `weights` of the setting and DD_DATA_ROOT")
    return file_digest(path)


def _weights_name(chosen: Setting, raw: RawData, digest: str) -> str:
    """Which of the setting's weights have that digest; raises InputError if none has it any more."""
    for choice in (chosen.teacher, *chosen.committee):
        if choice.weights and _weights_digest(raw, choice.weights) == digest:
            return choice.weights
    raise InputError(f"the teacher weights of {chosen.name} changed after they were planned", "start again")


def compute(unit: Unit, work: Work) -> Product:
    """Train (resumable) or import, then measure top-1 on the test split before anything uses the teacher."""
    import numpy as np

    from dd_assets.datasets.arrays import ImageArrays
    from dd_assets.datasets.registry import setting
    from dd_assets.evaluation.accuracy import enlarged_size, prepare_test
    from dd_assets.models.architectures import build_model
    from dd_assets.models.checkpoint import import_weights, load_classifier, to_safetensors
    from dd_assets.models.pretrained import import_published, is_published
    from dd_assets.models.training import top1, train_teacher
    from dd_assets.report.pictures import curve_svg

    chosen, facts = setting(unit.setting), unit.parameters
    train, test = work.raw.load(unit.setting, unit.inputs["dataset"])
    normalisation = Normalisation(**{k: tuple(v) for k, v in plain(facts["normalisation"]).items()})
    history: dict[str, Any] = {}
    metadata: dict[str, Any] = {
        "architecture": facts["architecture"],
        "classes": list(facts["classes"]),
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "channels": facts["channels"],
        "size": facts["size"],
    }
    if facts.get("imported"):
        weights = _weights_name(chosen, work.raw, unit.inputs["weights"])
        wanted = {key: facts[key] for key in ("architecture", "classes", "channels", "size")}
        wanted |= {"data": chosen.data, "folders": chosen.options.get("folders"), "normalisation": normalisation}
        if is_published(weights):
            state, found = import_published(weights, **wanted)
        else:
            state, found = import_weights(Path(work.raw.root) / weights, **wanted)
        metadata["source"] = found.get("source", weights)
    else:
        model = build_model(
            facts["architecture"],
            classes=len(facts["classes"]),
            channels=facts["channels"],
            size=facts["size"],
            seed=unit.seed or 0,
        )
        result = train_teacher(
            model,
            train,
            test,
            TeacherRecipe.from_stored(facts),
            normalisation,
            unit.seed or 0,
            device=work.device,
            checkpoints=work.checkpoints,
            progress=work.progress,
        )
        state, history = result.state, dict(result.history)
        metadata["source"] = "trained here"
    classifier = load_classifier(state, metadata, work.device)
    accuracy, correct = top1(classifier, test, normalisation, work.device)
    as_student = {}
    if enlarged_size(facts["size"]) != facts["size"]:
        seen = ImageArrays(prepare_test(test.images).numpy(), test.labels)
        as_student = {AS_STUDENT: top1(classifier, seen, normalisation, work.device)[0]}
    shown = [test.labels == label for label in range(len(facts["classes"]))]
    per_class = [float(correct[rows].mean()) if rows.any() else None for rows in shown]
    metadata["test_accuracy"] = accuracy
    hasher = ContentHasher("teacher").value("facts", {k: v for k, v in metadata.items() if k != "source"})
    for name, tensor in state.items():
        hasher.array(name, tensor.detach().cpu().numpy())
    curves = {name: [float(v) for v in np.asarray(values)] for name, values in history.items()}
    payloads = {CHECKPOINT: to_safetensors(state, metadata), "history.json": json.dumps(curves).encode()}
    if curves:
        series = {name: (list(range(1, len(values) + 1)), values) for name, values in curves.items()}
        payloads["curve.svg"] = curve_svg(series, "Teacher training", "epoch", "value").encode()
    floor = float(facts["accuracy_floor"])
    return Product(
        content=hasher.hexdigest(),
        payloads=payloads,
        verdicts=_verdicts(accuracy, per_class, floor, facts["classes"], bool(facts.get("imported"))),
        summary={
            "test_accuracy": accuracy,
            **as_student,
            "architecture": facts["architecture"],
            "parameters": sum(t.numel() for name, t in state.items() if "running_" not in name and t.ndim),
            "per_class_accuracy": per_class,
            "source": metadata["source"],
        },
    )


def _verdicts(
    accuracy: float, per_class: Sequence[float | None], floor: float, classes: Any, imported: bool
) -> tuple[Verdict, ...]:
    """per_class: None for a class of which the test split has no image."""
    lowest, worst = min((share, label) for label, share in enumerate(per_class) if share is not None)
    cause = (
        "wrong class order or normalisation is the commonest cause"
        if imported
        else "train it for more epochs, or lower `accuracy_floor` in its recipe, which trains nothing anew"
    )
    return (
        Verdict(
            name="accuracy_above_floor",
            passed=accuracy >= floor,
            blocking=True,
            message=f"top-1 on the test split {accuracy:.2%}, floor {floor:.2%}"
            + ("" if accuracy >= floor else f" ({cause})"),
            figures={"accuracy": accuracy, "floor": floor},
        ),
        Verdict(
            name="no_class_below_half_of_mean",
            passed=lowest >= 0.5 * accuracy,
            blocking=False,
            message=f"worst class {classes[worst]!r}: {lowest:.2%}",
            figures={"accuracy": lowest},
        ),
    )


# A committee is loaded again for every shard.
@functools.lru_cache(maxsize=12)
def _load(data: bytes, device: str) -> Any:
    from dd_assets.models.checkpoint import load_classifier, read

    state, metadata = read(data)
    return load_classifier(state, metadata, device)


def load(work: Work, input_name: str = "teacher") -> Any:
    """The teacher of a unit's input as a torch Module in eval mode; raises VerdictError if it may not be used.

    Each caller gets a copy: a computation that changed its memory layout, mode or weights in place would otherwise
    change the last bits of whatever the same process computes next.
    """
    return copy.deepcopy(_load(work.input_bytes(input_name, CHECKPOINT), work.device))
