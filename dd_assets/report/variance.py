"""How much of an accuracy's spread comes from the draw of the images, the student seed and the test images.

Belongs here: the variance components of one method's runs. Does not belong: comparing methods (statistics.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.lazy import np
from dd_assets.report.statistics import Runs


@dataclass(frozen=True, kw_only=True)
class Split:
    """Variance of the accuracy of one run, by cause; as estimated, so a component that is absent may be below zero."""

    draw: float | None
    """Between image sets; None with one draw, or where every draw has one seed (then `seed` holds both)."""
    seed: float | None
    """Between seeds of one draw; None with a single run."""
    image: float
    """Of the finite test set: images that are easy or hard for all runs."""
    rest: float
    """Runs that disagree about images, from whatever cause; with one run it cannot be told from `image`."""

    def deviations(self) -> dict[str, float | None]:
        """Standard deviation of an accuracy due to each cause alone; estimates below zero count as none."""
        found = {"draw": self.draw, "seed": self.seed, "image": self.image, "rest": self.rest}
        return {name: None if value is None else max(value, 0.0) ** 0.5 for name, value in found.items()}

    def shares(self) -> dict[str, float | None]:
        """Each cause's part of the variance, adding up to 1; all 0 for runs that do not vary at all."""
        found = {name: None if value is None else value**2 for name, value in self.deviations().items()}
        total = sum(value for value in found.values() if value is not None)
        return {name: None if value is None else value / total if total else 0.0 for name, value in found.items()}


def split(runs: Runs) -> Split:
    """Analysis of variance of bits under accuracy + draw + seed within draw + image + draw x image + remainder.

    Components are those that equate the mean squares with their expectations (unequal numbers of seeds per draw
    included), so each is unbiased; `image` and `rest` are divided by the number of test images.
    """
    bits = runs.bits.astype(np.float64)
    count, images = bits.shape
    labels = [np.flatnonzero(np.array(runs.draws) == draw) for draw in sorted(set(runs.draws))]
    if count == 1:
        return Split(draw=None, seed=None, image=float(bits.var(ddof=1)) / images, rest=0.0)
    if len(labels) == 1 or len(labels) == count:
        return _crossed(bits)
    return _nested(bits, labels)


def _crossed(bits: np.ndarray) -> Split:
    """Runs by images, without a level above the runs."""
    count, images = bits.shape
    centre, of_run, of_image = bits.mean(), bits.mean(axis=1), bits.mean(axis=0)
    runs = images * float(((of_run - centre) ** 2).sum()) / (count - 1)
    columns = count * float(((of_image - centre) ** 2).sum()) / (images - 1)
    rest = bits - of_run[:, None] - of_image[None] + centre
    both = float((rest**2).sum()) / ((count - 1) * (images - 1))
    return Split(draw=None, seed=(runs - both) / images, image=(columns - both) / count / images, rest=both / images)


def _nested(bits: np.ndarray, labels: list[np.ndarray]) -> Split:
    """Seeds within draws, by images."""
    count, images = bits.shape
    draws, sizes = len(labels), np.array([len(rows) for rows in labels])
    means = np.stack([bits[rows].mean(axis=0) for rows in labels])
    centre, of_run, of_image, of_draw = bits.mean(), bits.mean(axis=1), bits.mean(axis=0), means.mean(axis=1)
    own = np.empty(count, dtype=np.int64)
    for position, rows in enumerate(labels):
        own[rows] = position
    # Draws have `typical` seeds each, and an image mean sees a draw's own deviation `weight` times.
    typical, weight = (count - (sizes**2).sum() / count) / (draws - 1), float((sizes**2).sum()) / count
    between = images * float(sizes @ (of_draw - centre) ** 2) / (draws - 1)
    within = images * float(((of_run - of_draw[own]) ** 2).sum()) / (count - draws)
    columns = count * float(((of_image - centre) ** 2).sum()) / (images - 1)
    joint = means - of_draw[:, None] - of_image[None] + centre
    draw_image = float(sizes @ (joint**2).sum(axis=1)) / ((draws - 1) * (images - 1))
    rest = bits - means[own] - (of_run - of_draw[own])[:, None]
    remainder = float((rest**2).sum()) / ((count - draws) * (images - 1))
    shared = (draw_image - remainder) / typical
    return Split(
        draw=(between - within - draw_image + remainder) / (typical * images),
        seed=(within - remainder) / images,
        image=(columns - remainder - weight * shared) / count / images,
        rest=(shared + remainder) / images,
    )
