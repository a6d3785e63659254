"""Which images are optimised together.

Belongs here: batches of IPC indices and classes, and the layouts in which methods cut a set into them. Does not belong:
what happens to a batch (recover.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dd_assets.errors import InputError
from dd_assets.methods.request import Request


@dataclass(frozen=True, eq=False)
class Batch:
    """Images optimised together: IPC index and class of each, int64 (n,); equal only to itself."""

    indices: np.ndarray
    labels: np.ndarray

    @property
    def key(self) -> tuple[int, int]:
        """Index and class of the first image: the name of the batch in random streams."""
        return int(self.indices[0]), int(self.labels[0])


def batches_of(first: int, last: int, classes: int, size: int, layout: str) -> list[Batch]:
    """The batches of IPC indices `first` to `last` - 1, in row order (index, class).

    "one_per_class": chunks of `size` classes of one index, as the original. "whole_set": chunks of `size` rows of the
    whole set, so that ten classes may fill a batch of one hundred; the batch statistics then mix several images of a
    class, and image k depends on how many images there are.
    """
    indices, labels = np.divmod(np.arange(first * classes, last * classes), classes)
    span = classes if layout == "one_per_class" else len(labels)
    starts = [group + offset for group in range(0, len(labels), span) for offset in range(0, span, size)]
    ends = [min(start + size, (start // span + 1) * span) for start in starts]
    return [Batch(indices[start:end], labels[start:end]) for start, end in zip(starts, ends, strict=True)]


def requested_batches(request: Request, name: str) -> list[Batch]:
    """`batches_of` the request; raises InputError where layout "whole_set" is asked for a part of the set."""
    parameters = request.parameters
    if not parameters.per_index and (request.first, request.last) != (0, request.ipc):
        raise InputError(f"{name}: layout 'whole_set' cannot be computed in parts", "request all IPC indices at once")
    return batches_of(
        request.first, request.last, len(request.facts.classes), parameters.batch, parameters.batch_layout
    )


def class_major_batches(ipc: int, classes: int, size: int, *, whole: bool = True, groups: int = 1) -> list[Batch]:
    """Images of the same class side by side: batches of at most `size` rows in (class, index) order.

    `whole` keeps a class together, so that a batch holds as many whole classes as fit, at least one; otherwise the
    sequence is cut every `size` rows, as G-VBSM and EDC do. `groups` first parts the IPC indices into that many ranges
    (fewer where there are fewer indices) and goes through all classes in each (G-VBSM's Tiny-ImageNet branch).
    """
    batches = []
    for own in np.array_split(np.arange(ipc), min(groups, ipc)):
        indices, labels = np.tile(own, classes), np.repeat(np.arange(classes), len(own))
        step = max(1, size // len(own)) * len(own) if whole else size
        cuts = range(step, len(labels), step)
        pairs = zip(np.split(indices, cuts), np.split(labels, cuts), strict=True)
        batches += [Batch(part, part_labels) for part, part_labels in pairs]
    return batches
