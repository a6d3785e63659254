"""k-means of each class in a generator's latents.

Belongs here: clustering one class, from images to `ClassCentroids`. Does not belong: storage (units/centroids.py), what
methods do with them.

Latents are clean, scaled as the denoiser sees them, and the mode of the autoencoder's posterior. D4M fitted batches
of a few hundred latents as they filled up and dropped the rest of every class but the last
(distillation/gen_prototype.py); here every image of the class takes part.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.generator import Generator
from dd_assets.errors import InputError
from dd_assets.methods.request import ClassCentroids
from dd_assets.progress import Progress, silent

FULL_UP_TO = 20_000_000
"""Numbers in a class (images x dimensions) up to which full k-means runs; MiniBatchKMeans beyond."""
RESTARTS = 3
BATCH = 1024


def cluster(points: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres float32 (count, D) and sizes int64 (count,) of `points` (n, D), largest first; sizes add up to n.

    On one thread, because scikit-learn adds the threads' sums in the order in which they finish. Raises InputError
    for fewer points than clusters.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if count > len(points):
        raise InputError(f"{count} clusters of {len(points)} images", "choose a smaller IPC")
    small = points.size <= FULL_UP_TO
    model = (
        KMeans(n_clusters=count, n_init=RESTARTS, random_state=seed)
        if small
        else MiniBatchKMeans(n_clusters=count, n_init=RESTARTS, random_state=seed, batch_size=max(BATCH, 4 * count))
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Fewer different images than clusters leaves clusters empty; their size of 0 says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit(points).labels_
    sizes = np.bincount(labels, minlength=count)
    order = np.argsort(-sizes, kind="stable")
    return model.cluster_centers_[order].astype(np.float32), sizes[order].astype(np.int64)


def nearest_distinct(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """For each centre in turn the nearest row of `points` that is not taken yet, int64 (k,)."""
    chosen = np.empty(len(centres), dtype=np.int64)
    free = np.ones(len(points), dtype=bool)
    for number, centre in enumerate(centres):
        off = np.where(free, ((points - centre) ** 2).sum(axis=1), math.inf)
        chosen[number] = int(np.argmin(off))
        free[chosen[number]] = False
    return chosen


def class_centroids(
    generator: Generator, train: ImageArrays, classes: int, ipc: int, seed: int, progress: Progress = silent
) -> ClassCentroids:
    """The centroids of every class with k = `ipc`, all of its images used.

    Raises InputError naming a class with fewer images than `ipc`.
    """
    centers, nearest, sources, sizes = [], [], [], []
    for label in range(classes):
        rows = train.of_class(label)
        if ipc > len(rows):
            raise InputError(f"class {label} has {len(rows)} training images, IPC is {ipc}", "choose a smaller IPC")
        latents = generator.encode(train.images[rows]).cpu().numpy()
        points = latents.reshape(len(rows), -1)
        start = int(randomness.integers(2**31, 1, seed, "class_centroids", label)[0])
        found, counts = cluster(points, ipc, start)
        chosen = nearest_distinct(points, found)
        centers.append(found.reshape(ipc, *latents.shape[1:]))
        nearest.append(latents[chosen])
        sources.append(rows[chosen])
        sizes.append(counts)
        progress(label + 1, classes)

    def interleaved(parts: list[np.ndarray]) -> np.ndarray:
        stacked = np.stack(parts, axis=1)
        return stacked.reshape(-1, *stacked.shape[2:])

    return ClassCentroids(
        centers=interleaved(centers),
        nearest=interleaved(nearest),
        source_index=interleaved(sources),
        sizes=interleaved(sizes),
        classes=classes,
    )
