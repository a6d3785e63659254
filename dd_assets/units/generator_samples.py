"""The `generator_samples` unit: what a generator draws, beside real images, and whether the teacher recognises it.

Belongs here: planning and running that look. Does not belong: the generator (units/generator.py), the loop
(diffusion/sampling.py).
"""

from __future__ import annotations

from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import generator as generator_unit
from dd_assets.units import teacher as teacher_unit
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation
from dd_assets.units.tables import IMAGES, write_images

SHEET = "contact_sheet.png"
SAMPLES = 100
"""Images in all, or one per class; at most the first SAMPLES classes."""
PASS = 50
"""Images per pass at most; beyond 64 px as many as the encoder takes (`Generator.encoding_batch`)."""
SHOWN = 5
"""Real and generated images of a class on the sheet."""


def plan(
    chosen: Setting,
    generator: Manifest,
    images: Manifest,
    teacher: Manifest | None,
    scale: float,
    floor: float,
    shown: Setting | None = None,
) -> Unit:
    """Draw samples of `chosen`'s classes; `images` are the real ones shown beside them, of setting `shown`.

    Without a teacher nothing is judged.
    """
    inputs = {"generator": generator, "dataset": images, **({"teacher": teacher} if teacher else {})}
    return Unit(
        name="generator_samples",
        version=kind_of("generator_samples").version,
        parameters={
            "classes": list(chosen.classes),
            "real_classes": list((shown or chosen).classes),
            "normalisation": chosen.normalisation,
            "guidance_scale": scale,
            "recognition_floor": floor,
            "text": bool(generator.summary.get("text", False)),
        },
        inputs={name: manifest.content for name, manifest in inputs.items()},
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        seed=0,
        setting=(shown or chosen).name,
        label=f"generator samples {chosen.name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Sample SAMPLES images in 50 DDIM steps and let the teacher name them."""
    from dd_assets.diffusion.contract import Sampling
    from dd_assets.diffusion.footprint import footprint
    from dd_assets.diffusion.generate import sample_rows, to_images
    from dd_assets.diffusion.levels import stated_schedule
    from dd_assets.report.pictures import contact_sheet
    from dd_assets.synthesis.batches import batches_of

    given = unit.parameters
    classes = given["classes"]
    shown, per_class = min(len(classes), SAMPLES), max(1, SAMPLES // len(classes))
    made = generator_unit.load(work)
    sampling = Sampling(guidance_scale=given["guidance_scale"], condition="text" if given["text"] else "class")
    batches = batches_of(0, per_class, shown, min(PASS, made.encoding_batch), "one_per_class")
    images = np.concatenate([to_images(made, sample_rows(made, rows, sampling, unit.seed or 0)) for rows in batches])
    labels = np.concatenate([rows.labels for rows in batches])
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    share = _recognised(unit, work, images, labels)
    sheet, sheet_labels = _beside(images, labels, train.images, train.labels, classes, given["real_classes"])
    return Product(
        content=ContentHasher("generator_samples").array("images", images).array("labels", labels).hexdigest(),
        payloads={
            IMAGES: write_images(images, labels, classes, {}),
            SHEET: contact_sheet(sheet, sheet_labels, classes, columns=2 * SHOWN + 1),
        },
        verdicts=_verdicts(share, float(given["recognition_floor"]), images),
        summary={
            "rows": len(labels),
            "footprint": footprint(made),
            "schedule": stated_schedule(made.scheduler),
            **({} if share is None else {"recognised": share}),
        },
    )


def _recognised(unit: Unit, work: Work, images: np.ndarray, labels: np.ndarray) -> float | None:
    """The share of samples whose class the teacher names, or None without a teacher."""
    if "teacher" not in unit.inputs:
        return None
    from dd_assets.synthesis.outputs import logits_of

    normalisation = typed_normalisation(unit.parameters["normalisation"])
    logits = logits_of(teacher_unit.load(work), images, normalisation, work.device)
    return float((logits.argmax(dim=1).cpu().numpy() == labels).mean())


def _beside(
    images: np.ndarray,
    labels: np.ndarray,
    real: np.ndarray,
    real_labels: np.ndarray,
    classes: list[str],
    real_classes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a sheet: SHOWN real images of a class (by name), a blank, SHOWN generated ones."""
    from dd_assets.diffusion.producing import brought_to

    rows, names = [], []
    for label in range(min(10, int(labels.max()) + 1)):
        own = real[np.flatnonzero(real_labels == real_classes.index(classes[label]))[:SHOWN]]
        drawn = images[labels == label][:SHOWN]
        blank = np.full_like(drawn[:1], 255)
        row = np.concatenate([brought_to(own, images.shape[1], images.shape[3]), blank, drawn])
        rows.append(row)
        names.append(np.full(len(row), label))
    return np.concatenate(rows), np.concatenate(names)


def _verdicts(share: float | None, floor: float, images: np.ndarray) -> tuple[Verdict, ...]:
    # Of one colour, not of one number: the channels of plain red differ.
    constant = int((np.ptp(images, axis=(1, 2)).max(axis=1) == 0).sum())
    seen = (
        ()
        if share is None
        else (
            Verdict(
                name="recognised",
                passed=share >= floor,
                blocking=True,
                message=f"the teacher names {share:.1%} of {len(images)} samples correctly, floor {floor:.1%}",
                figures={"recognised": share, "floor": floor},
            ),
        )
    )
    return (
        *seen,
        Verdict(
            name="no_constant_samples",
            passed=constant == 0,
            blocking=True,
            message=f"{constant} of {len(images)} samples are of one colour",
        ),
    )
