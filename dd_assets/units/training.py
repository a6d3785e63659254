"""The `training` unit: one student trained on one image set, and how well it does on the test split.

Belongs here: planning it, its score row, its verdicts. Does not belong: the training loop (evaluation/students.py).
"""

from __future__ import annotations

import math
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.evaluation.protocol import Protocol
from dd_assets.lazy import np
from dd_assets.models.registry import architecture
from dd_assets.planning.digests import ContentHasher, plain
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import labels
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import IMAGES, read_images, write_columns

SCORE, CURVES = "score.parquet", "curves.parquet"
WEIGHT = "weight"
"""The image set's column that `sample_weights: column` reads."""


def plan(
    setting: Setting, student: str, protocol: Protocol, seed: int, inputs: dict[str, Manifest], label: str
) -> Unit:
    """One student training; `inputs` holds images and dataset, for soft labels also labels.

    Online labels need the networks behind them too: the inputs that `labels.labeller_inputs` names.
    """
    return Unit(
        name="training",
        version=kind_of("training").version,
        parameters={
            "architecture": student,
            "protocol": protocol,
            # CRLD's strong views were torchvision's RandAugment once; other losses see none and keep their digests.
            **({"strong_views": "fixmatch"} if protocol.loss == "crld" else {}),
            "normalisation": setting.normalisation,
            "classes": len(setting.classes),
            "channels": setting.channels,
            "size": setting.size,
            **architecture(student).stated_form(setting.size),
        },
        inputs={name: manifest.content for name, manifest in inputs.items()},
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        seed=seed,
        setting=setting.name,
        label=label,
    )


def typed_protocol(stated: Any) -> Protocol:
    """A Protocol from its JSON form."""
    fields = plain(stated)
    typed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return Protocol(**{**typed, "views": labels.typed_views(fields["views"])})


def compute(unit: Unit, work: Work) -> Product:
    """Train and score one student; initialisation, order and views depend on the seed alone, not on the method."""
    from dd_assets.evaluation.students import train_student
    from dd_assets.models.architectures import build_model

    given = unit.parameters
    protocol, seed = typed_protocol(given["protocol"]), unit.seed or 0
    images, base, further = read_images(work.input_bytes("images", IMAGES))
    weights = further.get(WEIGHT) if protocol.sample_weights == "column" else None
    _, test = work.raw.load(unit.setting, unit.inputs["dataset"])
    soft = protocol.label == "soft"
    model = build_model(
        given["architecture"],
        classes=given["classes"],
        channels=given["channels"],
        size=given["size"],
        seed=seed,
    )
    score = train_student(
        model,
        images_u8=images,
        labels=base,
        protocol=protocol,
        view_seed=seed,
        logits=labels.load_logits(work, len(images)) if soft else None,
        teacher=labels.load_labeller(work, protocol.labelling) if soft and protocol.label_storage == "online" else None,
        weights=weights,
        test=test,
        normalisation=labels.typed_normalisation(given["normalisation"]),
        device=work.device,
        checkpoints=work.checkpoints,
        progress=work.progress,
    )
    curves = {
        "accuracy": np.asarray(score.accuracy_curve, dtype=np.float64),
        "loss": np.asarray(score.loss_curve, dtype=np.float64),
        "train_accuracy": np.asarray(score.train_accuracy_curve, dtype=np.float64),
    }
    summary = {
        "accuracy": float(score.last_accuracy),
        "best_accuracy": float(score.best_accuracy),
        "train_accuracy": float(curves["train_accuracy"][-1]),
        "test_images": len(test),
        "evaluated_epochs": [int(epoch) for epoch in score.evaluated_epochs],
        "accuracy_curve": [float(value) for value in curves["accuracy"]],
    }
    if protocol.sample_weights == "column":
        summary["weighted"] = weights is not None
    if score.early_epochs:
        summary |= {
            "early_epochs": [int(epoch) for epoch in score.early_epochs],
            "early_curve": [float(value) for value in score.early_curve],
            "early_images": min(protocol.curve_images, len(test)),
        }
    hasher = ContentHasher("training").array("correct", score.correct)
    for name, values in curves.items():
        hasher.array(name, values)
    if score.early_epochs:
        hasher.array("early", np.asarray(score.early_curve, dtype=np.float64))
    columns = {
        "accuracy": np.array([summary["accuracy"]]),
        "best_accuracy": np.array([summary["best_accuracy"]]),
        "seed": np.array([seed]),
        "correct": np.asarray(score.correct, dtype=bool)[None],
    }
    per_epoch = {name: values for name, values in curves.items() if name != "accuracy"}
    return Product(
        content=hasher.hexdigest(),
        payloads={SCORE: write_columns(columns), CURVES: write_columns(per_epoch)},
        verdicts=_verdicts(summary, curves, given["classes"]),
        summary=summary,
        measurements={"steps": int(score.steps)},
    )


def _verdicts(summary: dict[str, Any], curves: dict[str, np.ndarray], classes: int) -> tuple[Verdict, ...]:
    finite = bool(np.isfinite(curves["loss"]).all())
    chance = 1.0 / classes
    margin = 2 * math.sqrt(chance * (1 - chance) / summary["test_images"])
    return (
        Verdict(name="finite_loss", passed=finite, blocking=True, message=f"last loss {curves['loss'][-1]:.3g}"),
        Verdict(
            name="above_chance",
            passed=summary["accuracy"] > chance + margin,
            blocking=False,
            message=f"accuracy {summary['accuracy']:.2%}, chance {chance:.2%}",
        ),
    )
