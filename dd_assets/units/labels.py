"""The `labels` unit: the teacher's or the committee's answers for one view schedule of one image set.

Belongs here: planning it, loading the networks that label, storing schema A (or the seed-only table), its verdicts.
Does not belong: view geometry and forwards (evaluation/labels.py, evaluation/labellers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.evaluation.protocol import Labelling, Protocol
from dd_assets.evaluation.view_presets import Views
from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher, plain
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import image_set, priors, teacher
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import read_columns, write_columns

if TYPE_CHECKING:
    from dd_assets.evaluation.label_codecs import Head
    from dd_assets.evaluation.labellers import Labeller
    from dd_resources.store import ArtefactStore

VIEWS, BATCHES, HEAD = "views.parquet", "batches.parquet", "head.safetensors"
FILE_BYTES = 4096
"""A Parquet file's own: schema, statistics, footer."""


def plan(
    setting: Setting,
    images: Manifest,
    labellers: Manifest | Mapping[str, Manifest],
    protocol: Protocol,
    seed: int,
    label: str,
) -> Unit:
    """The label table of an image set under a protocol's views, batch and epochs, for one view seed.

    labellers: the teacher, or the inputs that `labeller_inputs` names. A default labelling is no part of the recipe,
    so that RD3's tables keep the digests they had before there was another. Raises InputError for other networks than
    those the protocol names.
    """
    given = {"teacher": labellers} if isinstance(labellers, Manifest) else dict(labellers)
    named = protocol.labeller == "teacher" or bool(protocol.label_pool)
    if not named or set(given) != set(labeller_inputs(protocol.labelling)):
        raise InputError(
            f"{label}: labels by {protocol.labeller} {', '.join(protocol.label_pool)} were to come from"
            f" {', '.join(given)}",
            "plan them with Protocol.for_labels or Protocol.by_one_teacher",
        )
    inputs = {"images": images, **given}
    labelling = plain(protocol.labelling)
    return Unit(
        name="labels",
        version=kind_of("labels").version,
        parameters={
            "views": protocol.views,
            "batch": protocol.batch,
            "epochs": protocol.labelled_epochs,
            "storage": protocol.label_storage,
            "precision": protocol.precision,
            "normalisation": setting.normalisation,
            "size": setting.size,
            "classes": len(setting.classes),
            **({"labelling": labelling} if labelling else {}),
            **({"codec": protocol.label_codec} if protocol.label_codec != "fp16" else {}),
            **({"top_k": protocol.label_top_k} if protocol.label_top_k else {}),
        },
        inputs={name: manifest.content for name, manifest in inputs.items()},
        sources={name: manifest.recipe_digest for name, manifest in inputs.items()},
        seed=seed,
        setting=setting.name,
        label=label,
    )


def labeller_inputs(labelling: Labelling) -> tuple[str, ...]:
    """The input names of the networks that label, and of the priors where those weight them."""
    if not labelling.pool:
        return ("teacher",)
    members = tuple(f"committee/{name}" for name in labelling.pool)
    return (*members, "priors") if labelling.mix == "priors" else members


def load_labeller(work: Work, labelling: Labelling) -> Labeller:
    """The networks that label, from the unit's inputs."""
    from dd_assets.evaluation.labellers import Labeller, prior_weights

    names = [name for name in labeller_inputs(labelling) if name != "priors"]
    weights: tuple[float, ...] = ()
    if labelling.mix == "priors":
        known = priors.load(work)
        weights = prior_weights([known[name] for name in labelling.pool])
    return Labeller(members=tuple(teacher.load(work, name) for name in names), labelling=labelling, weights=weights)


def typed_labelling(stated: Any) -> Labelling:
    """A labelling from its JSON form, of which an older unit has none."""
    fields = plain(stated)
    return Labelling(**{**fields, "pool": tuple(fields.get("pool", ()))})


def estimated_bytes(images: int, classes: int, protocol: Protocol) -> int:
    """Upper estimate of a table's bytes: a row per batch and, unless online, logits and geometry per view."""
    epochs = protocol.labelled_epochs
    rows = FILE_BYTES + 32 * epochs * -(-images // protocol.batch)
    if protocol.label_storage == "online":
        return rows
    if protocol.label_codec == "features":
        # The classifier in float32, at most twice as wide as there are classes.
        rows += FILE_BYTES + 4 * classes * (2 * classes + 1)
    return rows + int(FILE_BYTES + images * epochs * (protocol.bytes_per_view(classes) + 15.1))


def typed_views(stated: Any) -> Views:
    """Views from their JSON form."""
    return Views(**plain(stated))


def typed_normalisation(stated: Any) -> Normalisation:
    """Normalisation from its JSON form."""
    return Normalisation(**{name: tuple(values) for name, values in plain(stated).items()})


def compute(unit: Unit, work: Work) -> Product:
    """Draw the geometry; for stored labels run the labelling networks on every view."""
    from safetensors.numpy import save

    from dd_assets.evaluation import labels
    from dd_assets.evaluation.label_codecs import decode, encode

    given = unit.parameters
    images, base = image_set.load(work)
    views, normalisation = typed_views(given["views"]), typed_normalisation(given["normalisation"])
    batch, epochs, seed = given["batch"], given["epochs"], unit.seed or 0
    table, batches = labels.label_geometry(views, len(images), given["size"], batch, epochs, seed)
    hasher = ContentHasher("labels").value("views", given["views"])
    payloads = {BATCHES: write_columns(batches)}
    verdicts: tuple[Verdict, ...] = ()
    head_arrays: dict[str, np.ndarray] = {}
    summary: dict[str, Any] = {"views": len(images) * epochs, "batches": len(batches["epoch"])}
    if given["storage"] == "stored":
        codec, head = given.get("codec", "fp16"), None
        labeller = load_labeller(work, typed_labelling(given.get("labelling", {})))
        if codec == "features":
            labeller, head = _by_features(labeller, given["classes"])
        answers = labels.compute_logits(
            labeller,
            images,
            views,
            normalisation,
            batch=batch,
            epochs=epochs,
            seed=seed,
            device=work.device,
            precision=given["precision"],
            progress=work.progress,
        )
        columns = encode(answers, codec, given.get("top_k", 0))
        table |= columns
        payloads[VIEWS] = write_columns(table)
        logits = answers
        if head is not None:
            logits = decode(columns, given["classes"], head)
            payloads[HEAD] = save(head._asdict())
            head_arrays = {f"head/{name}": values for name, values in head._asdict().items()}
        verdicts = _verdicts(logits, len(images) * epochs)
        summary["base_agreement"] = float((logits.argmax(1) == base[table["image_id"]]).mean())
    for name, values in (table | {f"batch/{key}": item for key, item in batches.items()} | head_arrays).items():
        hasher.array(name, values)
    return Product(content=hasher.hexdigest(), payloads=payloads, verdicts=verdicts, summary=summary)


def _by_features(labeller: Labeller, classes: int) -> tuple[Labeller, Head]:
    """The one teacher answering with its penultimate features, and its classifier; InputError for wide features."""
    from dd_assets.evaluation.label_codecs import Head, check_feature_width
    from dd_assets.models.classifier import Penultimate

    network = Penultimate(labeller.members[0])
    check_feature_width(network.classifier.in_features, classes)
    weight = network.classifier.weight.detach().float().cpu().numpy()
    stated = network.classifier.bias
    bias = np.zeros(classes, np.float32) if stated is None else stated.detach().float().cpu().numpy()
    return replace(labeller, members=(network,)), Head(weight, bias)


def read_logits(store: ArtefactStore, table: Manifest) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The geometry columns of a stored table and its logits (views, classes), fp16 or decoded to float32."""
    from safetensors.numpy import load

    from dd_assets.evaluation.label_codecs import Head, decode, label_columns

    columns = read_columns(store.read(table, VIEWS))
    kept = {name: columns.pop(name) for name in label_columns() if name in columns}
    head = Head(**load(store.read(table, HEAD))) if HEAD in table.payloads else None
    return columns, decode(kept, table.recipe["parameters"]["classes"], head)


def _verdicts(logits: np.ndarray, expected: int) -> tuple[Verdict, ...]:
    finite = bool(np.isfinite(logits).all())
    rows = len(logits)
    spread = float(logits.astype(np.float32).std())
    return (
        Verdict(name="finite_logits", passed=finite, blocking=True, message=f"logit standard deviation {spread:.3g}"),
        Verdict(
            name="rows_equal_views",
            passed=rows == expected,
            blocking=True,
            message=f"{rows} rows, {expected} views",
            figures={"rows": rows},
        ),
    )


def load_logits(work: Work, images: int, input_name: str = "labels") -> np.ndarray | None:
    """The stored logits (views, classes), fp16 or decoded to float32, or None where labels are found online.

    Either way the geometry that the table was made for is first compared with the one regenerated now; InputError if
    they differ.
    """
    from dd_assets.evaluation import labels

    manifest = work.input(input_name)
    given, seed = manifest.recipe["parameters"], manifest.recipe["seed"]
    table, logits = read_logits(work.store, manifest) if given["storage"] == "stored" else (None, None)
    batches = read_columns(work.store.read(manifest, BATCHES))
    labels.replay_check(
        table,
        batches,
        typed_views(given["views"]),
        images=images,
        size=given["size"],
        batch=given["batch"],
        seed=seed,
        epochs=given["epochs"],
    )
    return logits
