"""A stored result as a folder of plain files: images, soft labels, a dataset card, an example that trains from them.

Belongs here: what lies where in such a folder; imports neither torch nor pyarrow before there is something to write, so
that a refusal comes at once. Does not belong: finding results (library.py).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_assets.errors import InputError, StoreError, UnknownNameError
from dd_assets.methods.registry import method as known_method
from dd_assets.sharing.students import student_code
from dd_assets.units.tables import encode_png, write_images

if TYPE_CHECKING:
    from dd_assets.datasets.arrays import ImageArrays
    from dd_assets.evaluation.protocol import Protocol
    from dd_assets.sharing.library import ImageSet, Library, Training

FORMATS = ("parquet", "imagefolder")
DATA = "data/train.parquet"
SURROUNDINGS = ("torch", "python", "device")
"""Measurements of the training that its card repeats."""
_TAKEN = {
    # What it is told,
    *("epochs", "zeta", "learning_rate", "weight_decay", "temperature", "precision"),
    # what its tables hold,
    *("views", "batch", "labeller", "label_pool", "label_mix", "label_batch_norm", "label_dropout"),
    # and what concerns no training from stored labels, or was carried out before it.
    *("name", "label", "label_storage", "hard_form", "window", "window_step", "batch_rule", "zeta_rule", "rates"),
    *("curve_step", "curve_images"),
}
"""Fields of the protocol that train.py follows, whatever their value; any other must have its default."""
_TAKEN_VIEWS = {"preset", "shuffle_factor", "crop_scale_min", "hflip", "cutmix_alpha"}
"""Fields of the views whose outcome stands in the tables."""


def export(
    library: Library,
    training: Training,
    folder: str | os.PathLike[str],
    layout: str = "parquet",
    test: ImageArrays | None = None,
) -> list[str]:
    """Write a training's images, labels, card and example into a new or empty folder; returns the files' names.

    Everything is written beside it first, so a failure leaves no half folder. test: the real test split, for those who
    want it in `test.parquet`. Raises UnknownNameError for a layout, InputError for a folder that is not empty and for a
    protocol that the example cannot follow, StoreError where the folder cannot be written.
    """
    require_writable(folder, layout)
    _require_expressed(training)
    return write_folder(Path(folder), lambda: _files(library, training, layout, test))


def require_writable(folder: str | os.PathLike[str], layout: str = "parquet") -> None:
    """Raise UnknownNameError for a layout that there is not, InputError for a folder that is not empty."""
    if layout not in FORMATS:
        raise UnknownNameError.of("format", layout, FORMATS)
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is not an empty folder", "name a new one; nothing is written over")


def unexpressed(protocol: Protocol) -> list[str]:
    """What train.py cannot do of a protocol, as 'field=value'."""
    parts: list[tuple[str, Any, set[str]]] = [("", protocol, _TAKEN), ("views.", protocol.views, _TAKEN_VIEWS)]
    return [
        f"{prefix}{item.name}={getattr(stated, item.name)!r}"
        for prefix, stated, taken in parts
        for item in fields(stated)
        if item.name not in taken and getattr(stated, item.name) != item.default
    ]


def _require_expressed(training: Training) -> None:
    """Raise InputError where the example beside stored labels would train otherwise than the scored student."""
    from dd_assets.units.training import typed_protocol

    protocol = typed_protocol(training.protocol)
    found = unexpressed(protocol) if protocol.label == "soft" and protocol.label_storage == "stored" else []
    if found:
        raise InputError(
            f"{training.manifest.label}: train.py cannot follow its protocol's {', '.join(found)}",
            "export the images alone with `--label hard`, or a training under a protocol without these fields;"
            " dd_assets.open().soft_labels reads these labels as they are",
        )


def write_folder(folder: Path, files: Mapping[str, bytes] | Callable[[], Mapping[str, bytes]]) -> list[str]:
    """Write files (name to bytes) into a new or empty folder, all or none; returns their names, sorted.

    Raises InputError for a folder that is not empty (before `files` is asked), StoreError where it cannot be written.
    """
    require_writable(folder)
    target = folder.absolute()
    contents = files() if callable(files) else files
    made = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        for name, data in contents.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(data)
        made.chmod(0o755)
        made.replace(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}", "check space and rights") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    return sorted(contents)


def _files(library: Library, training: Training, layout: str, test: ImageArrays | None) -> dict[str, bytes]:
    images = library.read_images(training.images)
    files = _image_files(images, layout)
    tables = library.label_tables(training)
    stored = "views.parquet" in tables
    if stored:
        files |= {f"labels/{name}": data for name, data in tables.items()}
        # The example reads Parquet, whatever layout others want the images in.
        files[DATA] = write_images(images.images, images.labels, images.classes, images.columns)
        files["train.py"] = _example(training, images).encode()
    if test is not None:
        files["test.parquet"] = write_images(test.images, test.labels, images.classes, {})
    files["README.md"] = _card(training, images, layout, stored, test is not None).encode()
    files["provenance.json"] = json.dumps(_provenance(library, training), indent=1).encode()
    return files


def _image_files(images: ImageSet, layout: str) -> dict[str, bytes]:
    if layout == "parquet":
        return {DATA: write_images(images.images, images.labels, images.classes, images.columns)}
    names = [_folder_name(label, name) for label, name in enumerate(images.classes)]
    return {
        f"train/{names[label]}/{row // len(names):05d}.png": encode_png(image)
        for row, (image, label) in enumerate(zip(images.images, images.labels, strict=True))
    }


def _folder_name(label: int, name: str) -> str:
    """A folder per class that sorts in label order, as ImageFolder counts labels, whatever the class is called."""
    return f"{label:04d}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}"


def _example(training: Training, images: ImageSet) -> str:
    from dd_assets.evaluation.accuracy import enlarged_size

    given, protocol = training.manifest.recipe["parameters"], training.protocol
    size, channels = images.images.shape[1], images.images.shape[3]
    title, body = student_code(training.student, len(images.classes), channels, size)
    return render(
        "train.py.j2",
        title=title,
        mean=list(given["normalisation"]["mean"]),
        std=list(given["normalisation"]["std"]),
        epochs=protocol["epochs"],
        rate=protocol["learning_rate"],
        decay=protocol["weight_decay"],
        temperature=protocol["temperature"],
        zeta=protocol["zeta"],
        bf16=protocol["precision"] != "fp32",
        factor=protocol["views"]["shuffle_factor"],
        student=body,
        size=size,
        enlarged=enlarged_size(size),
    )


def size_category(rows: int) -> str:
    """Hugging Face's class of a dataset's size, such as 1K<n<10K."""
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    place = sum(rows >= 1000 * 10**power for power in range(len(bounds)))
    if place in (0, len(bounds)):
        return f"n<{bounds[0]}" if place == 0 else f"n>{bounds[-1]}"
    return f"{bounds[place - 1]}<n<{bounds[place]}"


def _card(training: Training, images: ImageSet, layout: str, with_labels: bool, with_test: bool) -> str:
    entry = known_method(training.method)
    rows, size, _, channels = images.images.shape
    parquet = layout == "parquet"
    table, measured = training.labels, training.manifest.measurements
    return render(
        "card.md.j2",
        path=DATA if parquet else "train/**",
        loader="parquet" if parquet else "imagefolder",
        loader_arguments=f'data_files="{DATA}"' if parquet else 'data_dir="train"',
        size_category=size_category(rows),
        dataset=training.setting.name,
        title=entry.title,
        summary=entry.summary,
        paper=entry.paper,
        code=entry.code,
        differs=entry.differs,
        ipc=training.ipc,
        rows=rows,
        size=size,
        channels=channels,
        classes=images.classes,
        student=training.student,
        seed=training.seed,
        protocol=training.protocol,
        accuracy=training.accuracy,
        labels="hard"
        if table is None
        else f"soft, fp16 logits of {table.summary['views']} views"
        if with_labels
        else "soft, found online while training (not stored)",
        images_digest=training.images.content,
        version=importlib.metadata.version("dd-assets"),
        surroundings=", ".join(f"{name} {measured[name]}" for name in SURROUNDINGS if name in measured),
        with_labels=with_labels,
        test_note=" and prints its accuracy on the test split in test.parquet" if with_test else "",
    )


def _provenance(library: Library, training: Training) -> dict[str, Any]:
    """Every manifest upstream of the training, by recipe digest, as far as the store still holds them."""
    found: dict[str, Any] = {}
    left = [training.manifest]
    while left:
        manifest = left.pop()
        if manifest.recipe_digest in found:
            continue
        found[manifest.recipe_digest] = {
            "label": manifest.label,
            "recipe": manifest.recipe,
            "content": manifest.content,
            "sources": dict(manifest.sources),
            "summary": manifest.summary,
            "measurements": manifest.measurements,
        }
        left += [known for digest in manifest.sources.values() if (known := library.store.lookup(digest)) is not None]
    return {"training": training.manifest.recipe_digest, "units": found}


def render(template: str, **values: Any) -> str:
    """A template of this package filled in."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dd_assets.sharing"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown and Python, not HTML
    )
    return environment.get_template(template).render(**values)
