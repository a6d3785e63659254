"""The k-means coreset.

Belongs here: clustering and the real image that stands for each centroid. Does not belong: features
(synthesis/outputs.py), numbers (recipe.py).
"""

from __future__ import annotations

import warnings

import numpy as np

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.kmeans.recipe import Parameters
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.outputs import features_of
from dd_assets.synthesis.selection import Choice, select


def cluster(features: np.ndarray, count: int, parameters: Parameters, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroids float64 (count, D) and sizes int64 (count,) of the clusters of `features` (n, D), largest first.

    On one thread, because scikit-learn adds the threads' sums in the order in which they finish.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    kind = {"full": KMeans, "minibatch": MiniBatchKMeans}[parameters.algorithm]
    model = kind(n_clusters=count, n_init=parameters.restarts, max_iter=parameters.iterations, random_state=seed)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Fewer different images than clusters leaves clusters empty; their size of 0 says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit(features).labels_
    sizes = np.bincount(labels, minlength=count)
    order = np.argsort(-sizes, kind="stable")
    return model.cluster_centers_[order], sizes[order]


def nearest_distinct(features: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each centroid in turn the nearest row of `features` not taken yet, int64 (k,), and its distance (k,)."""
    chosen, distances = np.empty(len(centroids), dtype=np.int64), np.empty(len(centroids))
    used = np.zeros(len(features), dtype=bool)
    for number, centroid in enumerate(centroids):
        off = np.linalg.norm(features - centroid, axis=1)
        off[used] = np.inf
        best = int(np.argmin(off))
        chosen[number], distances[number], used[best] = best, off[best], True
    return chosen, distances


def synthesise(request: Request) -> SyntheticImages:
    """One real image per cluster of the class's teacher features, that of the largest cluster first.

    Columns source_index, cluster_size (images in the cluster), weight (the same, what `sample_weights: column` reads)
    and distance (to its centroid). A shard is the whole set, since clusters depend on IPC. Raises InputError for a part
    of it and where a class has too few images.
    """
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("kmeans: cannot be computed in parts", "request all IPC indices at once")
    teacher, parameters = request.teacher(), request.parameters

    def choose(label: int, images: np.ndarray) -> Choice:
        features = features_of(teacher, images, request.facts.normalisation, request.device)
        seed = int(randomness.integers(2**31, 1, request.seed, "kmeans", label)[0])
        centroids, sizes = cluster(features, request.ipc, parameters, seed)
        chosen, distances = nearest_distinct(features, centroids)
        return chosen, {"cluster_size": sizes, "weight": sizes.astype(np.float64), "distance": distances}

    return select(request, choose)
