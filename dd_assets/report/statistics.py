"""Whether one method's students are better than another's: a paired hierarchical bootstrap, and Holm's correction.

Belongs here: arithmetic on per-image correctness bits. Does not belong: reading them from the store (scores.py),
splitting variance (variance.py), saying in words what was found (comparison.py).

Two methods are compared on the runs that share a student seed, hence initialisation, order and views. What varies
between such pairs is, from the outside in, the draw of the images, the seed, and the test images that were at hand; the
last are the same for all runs. The bootstrap resamples all three levels with replacement. Left at that its spread is
wrong in two known ways: it is (n - 1)/n too small for n draws, and it counts the interaction of runs and images three
times (Owen, The pigeonhole bootstrap, 2007). So the replicates' spread is set to the unbiased estimate of the two-way
layout, and each deviation is divided by √(χ²/df), with Satterthwaite's degrees of freedom, as Student's t does.
Coverage of 95 % intervals, measured in five simulated worlds of five to nine pairs (tests/report/test_coverage.py holds
three of them): 94 to 99 %, where the plain percentile interval has 86 to 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.lazy import np

MIN_PAIRS = 5
"""Fewer pairs of runs never separate two methods."""
LEVEL = 0.05
"""Of tests; intervals hold 1 - LEVEL."""
REPLICATES = 10_000
CHUNK = 250
"""Replicates whose image weights are drawn together; part of the random streams, so not a matter of memory alone."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """One method's students in one contest."""

    bits: np.ndarray
    """bool (runs, test images): whether each run classifies each image correctly after the last epoch."""
    draws: tuple[int, ...]
    """The image set that each run was trained on."""
    seeds: tuple[int, ...]
    """The student seed of each run; no two runs share one."""

    def __post_init__(self) -> None:
        """Raises InputError for lengths that differ, no run, or a seed that occurs twice."""
        if self.bits.ndim != 2 or not self.bits.size or not len(self.bits) == len(self.draws) == len(self.seeds):
            raise InputError(
                f"bits of shape {self.bits.shape} for {len(self.draws)} draws and {len(self.seeds)} seeds",
                "give one row of bits, one draw and one seed per run",
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError("two runs of one method share a student seed", "give every run a seed of its own")

    @property
    def accuracy(self) -> float:
        """Mean over runs and images, a fraction."""
        return float(self.bits.mean())


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """How much better method `first` is than `second`, in fractions of the test images."""

    first: str
    second: str
    difference: float
    """Over the paired runs."""
    low: float | None
    """Ends of the 95 % interval; None where no spread between runs can be measured."""
    high: float | None
    p: float
    """Two-sided, of no difference, before any correction; 1 where no spread can be measured."""
    pairs: int
    """Runs of each that share a seed."""
    clusters: int
    """Independent groups of pairs: draws where a method has several, else seeds."""

    @property
    def enough(self) -> bool:
        """Whether there are pairs enough to separate the two at all."""
        return self.pairs >= MIN_PAIRS and self.clusters >= 2


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjusted p-values, in the order given; their family-wise error is at most the level.

    The k-th smallest of m is multiplied by m - k + 1 and raised to those before it. Trap: Bonferroni's factor m for all
    is valid but loses power; forgetting the running maximum can make a larger p the smaller adjusted one.
    """
    adjusted, running = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = running
    return adjusted


def clusters_of(*draws: Sequence[int]) -> list[np.ndarray]:
    """Groups of paired runs that are independent of one another: rows int64, in the order of their first row.

    draws: for each of the methods compared, the draw of every pair. Pairs that share a draw belong together; a method
    with one draw ties nothing, since its draw does not vary: then the result holds for that image set.
    """
    group = list(range(len(draws[0])))
    for own in draws:
        if len(set(own)) == 1:
            continue
        for draw in set(own):
            members = {group[row] for row, other in enumerate(own) if other == draw}
            group = [min(members) if label in members else label for label in group]
    labels = np.array(group)
    return [np.flatnonzero(labels == label) for label in dict.fromkeys(group)]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The unbiased variance of a mean over runs and images, and the degrees of freedom of that estimate."""

    variance: float
    df: float


def spread(values: np.ndarray, clusters: Sequence[np.ndarray]) -> Spread:
    """Variance of `values.mean()` when clusters of runs and images are both samples; values float64 (runs, images).

    With the mean squares of clusters, images and their interaction over the number of values, V = V_c + V_i - V_ci,
    each an unbiased estimate of what it holds (two-way random layout, clusters weighted by their runs), and no less
    than V_c or V_i alone. Satterthwaite's df lie between those of the clusters and those of both together. Needs two
    clusters and two images.
    """
    count, images = len(clusters), values.shape[1]
    weight = np.array([len(rows) for rows in clusters]) / len(values)
    means = np.stack([values[rows].mean(axis=0) for rows in clusters])
    centre, across = values.mean(), weight @ means
    off = means.mean(axis=1) - centre
    small = count / (count - 1)
    of_clusters = small * float(weight**2 @ off**2)
    of_images = float(((across - centre) ** 2).sum()) / (images * (images - 1))
    rest = means - off[:, None] - across[None]
    of_both = small * float(weight**2 @ (rest**2).sum(axis=1)) / (images * (images - 1))
    variance = max(of_clusters + of_images - of_both, of_clusters, of_images)
    parts = ((of_clusters, count - 1), (of_images, images - 1), (of_both, (count - 1) * (images - 1)))
    noise = sum(part**2 / df for part, df in parts)
    df = variance**2 / noise if noise else float(count - 1)
    return Spread(variance=variance, df=min(max(df, count - 1), count + images - 2))


class Bootstrap:
    """Replicates of every run's accuracy on resampled test images, shared by all comparisons of a contest."""

    def __init__(self, contest: Mapping[str, Runs], replicates: int = REPLICATES, seed: int = 0) -> None:
        """Raises InputError if the methods were not tested on equally many images, or on fewer than two."""
        counts = {runs.bits.shape[1] for runs in contest.values()}
        if len(counts) != 1 or min(counts) < 2:
            raise InputError(
                f"runs were tested on {sorted(counts)} images", "compare runs that were tested on the same images"
            )
        self.contest = dict(contest)
        self.images = counts.pop()
        self.replicates, self.seed = replicates, seed
        self._picks: dict[str, np.ndarray] = {}

    @cached_property
    def _accuracies(self) -> dict[str, np.ndarray]:
        """Method to float64 (replicates, runs)."""
        bits = np.concatenate([runs.bits for runs in self.contest.values()]).astype(np.float32)
        parts = []
        for start in range(0, self.replicates, CHUNK):
            picks = randomness.integers(self.images, CHUNK * self.images, self.seed, "bootstrap", "images", start)
            picks += np.repeat(np.arange(CHUNK) * self.images, self.images)
            weights = np.bincount(picks, minlength=CHUNK * self.images).reshape(CHUNK, self.images)
            # Counts times bits are whole numbers below 2^24: exact in any order of summation.
            parts.append((weights.astype(np.float32) @ bits.T).astype(np.float64) / self.images)
        drawn = np.concatenate(parts)[: self.replicates]
        ends = np.cumsum([len(runs.bits) for runs in self.contest.values()])
        return dict(zip(self.contest, np.split(drawn, ends[:-1], axis=1), strict=True))

    def contrast(self, first: str, second: str) -> Contrast:
        """Compare two methods on the seeds that both have; without any: 0 pairs, the plain difference, p 1."""
        one, two = self.contest[first], self.contest[second]
        shared = [seed for seed in one.seeds if seed in two.seeds]
        if not shared:
            plain = one.accuracy - two.accuracy
            return Contrast(
                first=first, second=second, difference=plain, low=None, high=None, p=1.0, pairs=0, clusters=0
            )
        rows = [[runs.seeds.index(seed) for seed in shared] for runs in (one, two)]
        values = one.bits[rows[0]].astype(np.float64) - two.bits[rows[1]]
        clusters = clusters_of([one.draws[row] for row in rows[0]], [two.draws[row] for row in rows[1]])
        pairs = {"pairs": len(shared), "clusters": len(clusters)}
        difference = float(values.mean())
        if len(clusters) < 2:
            return Contrast(first=first, second=second, difference=difference, low=None, high=None, p=1.0, **pairs)
        replicated = self._accuracies[first][:, rows[0]] - self._accuracies[second][:, rows[1]]
        off = self._deviations(replicated, clusters, spread(values, clusters))
        low, high = np.quantile(off, [LEVEL / 2, 1 - LEVEL / 2])
        beyond = int((np.abs(off) >= abs(difference) - 1e-12).sum())
        return Contrast(
            first=first,
            second=second,
            difference=difference,
            low=difference + float(low),
            high=difference + float(high),
            p=(beyond + 1) / (self.replicates + 1),
            **pairs,
        )

    def _deviations(self, replicated: np.ndarray, clusters: Sequence[np.ndarray], target: Spread) -> np.ndarray:
        """Studentised deviations, float64 (replicates,); replicated: differences per replicate and pair."""
        weights = self._weights(clusters)
        drawn = (replicated * weights).sum(axis=1) / weights.sum(axis=1)
        off = drawn - drawn.mean()
        found = float(off.std())
        if not found:
            return off
        return off * (math.sqrt(target.variance) / found) / np.sqrt(self._chi_squared(target.df) / target.df)

    def _weights(self, clusters: Sequence[np.ndarray]) -> np.ndarray:
        """How often each pair is picked, float64 (replicates, pairs); pairs grouped alike are picked alike."""
        name = "/".join(",".join(str(row) for row in rows) for rows in clusters)
        if name not in self._picks:
            self._picks[name] = self._picked(clusters, name)
        return self._picks[name]

    def _picked(self, clusters: Sequence[np.ndarray], name: str) -> np.ndarray:
        """Clusters with replacement, then pairs within each."""
        lengths = np.array([len(rows) for rows in clusters])
        count, total, largest = len(clusters), int(lengths.sum()), int(lengths.max())
        padded = np.stack([np.resize(rows, largest) for rows in clusters])
        shape = (self.replicates, count)
        chosen = randomness.integers(count, math.prod(shape), self.seed, "bootstrap", "draws", name).reshape(shape)
        inner = randomness.uniform(math.prod(shape) * largest, self.seed, "bootstrap", "seeds", name)
        within = (inner.reshape(*shape, largest) * lengths[chosen][..., None]).astype(np.int64)
        taken = np.arange(largest) < lengths[chosen][..., None]
        pairs = padded[chosen[..., None], within] + np.arange(self.replicates)[:, None, None] * total
        weights = np.bincount(pairs[taken], minlength=self.replicates * total)
        return weights.reshape(self.replicates, total).astype(np.float64)

    @cached_property
    def _levels(self) -> np.ndarray:
        """One level of each stratum of (0, 1), shuffled: quantiles of t then hardly depend on the draw."""
        order = randomness.permutation(self.replicates, self.seed, "bootstrap", "chi_squared")
        return (order + 0.5) / self.replicates

    def _chi_squared(self, df: float) -> np.ndarray:
        """Chi-squared variates of any positive degrees of freedom, float64 (replicates,)."""
        from scipy.special import gammaincinv

        return 2 * gammaincinv(df / 2, self._levels)


def rank_interval(method: str, contrasts: Mapping[str, Contrast]) -> tuple[int, int]:
    """Best and worst rank that a method may have: 95 % hold its true one (Mogstad et al., Inference for Ranks, 2024).

    contrasts: of `method` (first) with every other. One place is lost to each method that is better beyond noise, one
    won from each that is worse, by Holm's correction over the others; too few pairs separate nothing.
    """
    others = list(contrasts)
    adjusted = dict(zip(others, holm([contrasts[name].p for name in others]), strict=True))
    beyond = [contrasts[name] for name in others if separable(contrasts[name], adjusted[name])]
    better = sum(contrast.difference < 0 for contrast in beyond)
    worse = sum(contrast.difference > 0 for contrast in beyond)
    return 1 + better, 1 + len(others) - worse


def separable(contrast: Contrast, adjusted: float) -> bool:
    """Whether a difference is beyond noise, by its adjusted p-value; never with fewer than MIN_PAIRS pairs."""
    return contrast.enough and adjusted < LEVEL and contrast.difference != 0
