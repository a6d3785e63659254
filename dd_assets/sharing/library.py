"""Stored results as Python objects: `dd_assets.open()`.

Belongs here: finding a cell's images, soft labels and trainings in a store, as torch datasets. Does not belong:
computing what is missing (`dd-assets sync`), files for others (export.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.registry import enabled
from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.label_codecs import epoch_sources
from dd_assets.evaluation.views import ViewSchedule, render, span_geometry
from dd_assets.methods.registry import method as known_method
from dd_assets.planning.cells import Cell
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units.labels import BATCHES, VIEWS, read_logits, typed_normalisation, typed_views
from dd_assets.units.tables import IMAGES, read_images
from dd_assets.units.training import typed_protocol
from dd_resources.injection import NAMESPACE, store_root
from dd_resources.store import ArtefactStore


class ImageSet(Dataset[tuple[Tensor, int]]):
    """One draw of a distilled image set; item i is (float32 (C, H, W) in [0, 1], label)."""

    images: np.ndarray
    """uint8 (N, H, W, C), ordered by (IPC index, class)."""
    labels: np.ndarray
    """int64 (N,)."""
    classes: tuple[str, ...]
    """Names in label order."""
    columns: Mapping[str, np.ndarray]
    """Further facts of each image that the method gives, such as `source_index`."""

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], columns: Mapping[str, np.ndarray]
    ) -> None:
        self.images, self.labels, self.classes, self.columns = images, labels, classes, columns

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 255, int(self.labels[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledBatch:
    """One training batch of n views as the student saw it."""

    inputs: Tensor
    """Normalised float32 (n, C, H, W)."""
    logits: Tensor
    """The teacher's or the committee's, float32 (n, classes)."""
    base: Tensor
    """Label of each view's own image, int64 (n,)."""
    pasted: Tensor
    """Label of the image whose box was pasted, int64 (n,)."""
    lam: float
    """Share of pixels that stay the own image's."""
    epoch: int
    """Of the training, counted from 0: what its learning rate follows."""
    labelled_epoch: int
    """Whose labels these are: the same but where a training goes through the labels of fewer epochs again."""


class SoftLabels(Dataset[LabelledBatch]):
    """The views and logits of one training, batch by batch in its order; use with `DataLoader(batch_size=None)`.

    The views are made anew from their stored geometry, so they are the ones that were labelled.
    """

    images: ImageSet
    schedule: ViewSchedule
    """The geometry of every view, batch after batch."""
    normalisation: Normalisation
    """Mean and deviation of each channel, by which inputs are normalised."""
    logits: np.ndarray
    """(views, classes), fp16, or float32 where they were decoded."""

    def __init__(
        self, images: ImageSet, schedule: ViewSchedule, logits: np.ndarray, normalisation: Normalisation
    ) -> None:
        self.images, self.schedule, self.normalisation, self.logits = images, schedule, normalisation, logits
        self._pixels = torch.from_numpy(images.images)
        self._starts = schedule.starts()
        self._per_epoch = int(np.searchsorted(self._starts, len(images.images)))

    def __len__(self) -> int:
        return len(self.schedule.n)

    def __getitem__(self, index: int) -> LabelledBatch:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        batch = index % len(self)
        rows = slice(self._starts[batch], self._starts[batch + 1])
        own = self.schedule.image_id[rows]
        partner = own[self.schedule.mix_slot[rows]]
        labels = torch.from_numpy(self.images.labels)
        return LabelledBatch(
            inputs=render(self._pixels, self.schedule, self.normalisation, batch),
            logits=torch.from_numpy(self.logits[rows]).float(),
            base=labels[torch.from_numpy(own.astype(np.int64))],
            pasted=labels[torch.from_numpy(partner.astype(np.int64))],
            lam=float(self.schedule.lam[batch]),
            epoch=batch // self._per_epoch,
            labelled_epoch=int(self.schedule.batch_epoch[batch]),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Training:
    """One scored student training and what it was trained on."""

    manifest: Manifest
    images: Manifest
    labels: Manifest | None
    """The label table; None for hard labels."""
    dataset: Manifest
    setting: Setting
    method: str
    ipc: int
    student: str

    @property
    def accuracy(self) -> float:
        """Top-1 on the test split after the last epoch, in [0, 1]."""
        return float(self.manifest.summary["accuracy"])

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The protocol's fields."""
        return dict(self.manifest.recipe["parameters"]["protocol"])

    @property
    def seed(self) -> int:
        """Of the student's initialisation and views."""
        return int(self.manifest.recipe["seed"])


class Library:
    """What a store holds, by method, dataset and images per class; reads only."""

    store: ArtefactStore
    namespace: str
    """Of the references it reads; Dagster's assets by default."""

    def __init__(self, store: str | None = None, namespace: str = NAMESPACE) -> None:
        """store: a folder or an s3:// URL; None is DD_STORE's. Raises StoreError if it cannot be read."""
        self.store = ArtefactStore(store or store_root()).open()
        self.namespace = namespace

    def image_set(self, method: str, dataset: str, ipc: int, draw: int = 0) -> ImageSet:
        """A distilled image set; raises UnknownNameError or InputError where there is none."""
        units = self._reference(f"{known_method(method).name}/synthetic_images", dataset, ipc).units
        key = f"draw{draw}"
        if key not in units:
            raise InputError(f"{method} on {dataset}|{ipc} has no draw {draw}", f"it has {', '.join(sorted(units))}")
        return self.read_images(self._manifest(units[key], f"{method}/synthetic_images"))

    def read_images(self, manifest: Manifest) -> ImageSet:
        """The image set of a manifest."""
        images, labels, columns = read_images(self.store.read(manifest, IMAGES))
        return ImageSet(images, labels, tuple(manifest.recipe["parameters"]["classes"]), columns)

    def training(
        self, method: str, dataset: str, ipc: int, student: str, *, label: str = "soft", seed: int = 0
    ) -> Training:
        """One scored training; raises UnknownNameError or InputError where there is none."""
        asset = f"{known_method(method).name}/score_{student}"
        units = self._reference(asset, dataset, ipc).units
        found = {key: digest for key, digest in units.items() if key.startswith(f"{label}/")}
        chosen = next((digest for key, digest in found.items() if key.endswith(f"/seed{seed}")), None)
        if chosen is None:
            raise InputError(
                f"{asset} [{dataset}|{ipc}] has no training with {label} labels and seed {seed}",
                f"it has {', '.join(sorted(units))}",
            )
        made = self._manifest(chosen, asset)
        sources = {name: self._manifest(digest, asset) for name, digest in made.sources.items()}
        return Training(
            manifest=made,
            images=sources["images"],
            labels=sources.get("labels"),
            dataset=sources["dataset"],
            setting=Cell.of(dataset).setting,
            method=method,
            ipc=ipc,
            student=student,
        )

    def soft_labels(self, method: str, dataset: str, ipc: int, student: str, seed: int = 0) -> SoftLabels:
        """The views and logits that one scored student was trained on; raises InputError where none are stored."""
        return self.read_soft_labels(self.training(method, dataset, ipc, student, seed=seed))

    def read_soft_labels(self, training: Training) -> SoftLabels:
        """The views and logits of a training; raises InputError for hard labels and for those made online."""
        table = training.labels
        if table is None or table.recipe["parameters"]["storage"] != "stored":
            how = "hard labels" if table is None else "labels found online"
            raise InputError(f"{training.manifest.label} was trained with {how}", "set `label_storage: stored`")
        given, images = table.recipe["parameters"], self.read_images(training.images)
        # Labelled epochs come again where there are fewer of them than the training has.
        seed, protocol = int(table.recipe["seed"]), typed_protocol(training.manifest.recipe["parameters"]["protocol"])
        epochs = epoch_sources(protocol, seed).tolist()
        views = typed_views(given["views"])
        schedule = span_geometry(views, len(images), given["size"], given["batch"], seed, epochs)
        _, stored = read_logits(self.store, table)
        logits = stored.reshape(given["epochs"], len(images), -1)[epochs].reshape(len(schedule), -1)
        return SoftLabels(images, schedule, logits, typed_normalisation(given["normalisation"]))

    def label_tables(self, training: Training) -> dict[str, bytes]:
        """The Parquet files of a training's label table by name; {} for hard labels.

        Raises InputError for a table that is not fp16 logits of every epoch, which a reader elsewhere would expect.
        """
        table = training.labels
        stated = training.manifest.recipe["parameters"]["protocol"]
        short = [name for name in ("label_codec", "label_top_k", "label_epochs") if name in stated]
        if table is not None and short:
            raise InputError(
                f"{training.manifest.label}: its labels are kept in fewer bytes ({', '.join(short)})",
                "read them by dd_assets.open().soft_labels, or export a training without these fields",
            )
        return {} if table is None else {n: self.store.read(table, n) for n in (VIEWS, BATCHES) if n in table.payloads}

    def _reference(self, asset: str, dataset: str, ipc: int) -> Reference:
        cell = Cell.of(f"{dataset}|{ipc}")
        reference = self.store.read_reference(self.namespace, asset, cell.partition)
        if reference is None:
            # What is not enabled may be here, of other settings, but no sync computes it.
            enabled(dataset)
            raise UnknownNameError(
                f"{asset} [{cell.partition}] is not in store {self.store.root}",
                f"compute it: dd-assets sync --select 'key:\"{asset}\"' --partition '{cell.partition}'",
            )
        return reference

    def _manifest(self, digest: str, owner: str) -> Manifest:
        manifest = self.store.lookup(digest)
        if manifest is None:
            raise InputError(f"{owner}: result {digest[:12]} is not in store {self.store.root}", "sync it again")
        return manifest
