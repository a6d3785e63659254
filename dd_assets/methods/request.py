"""What a synthesis receives and what it returns.

Belongs here: the request with everything it can load, and the images. Does not belong: what a method states about
itself (contract.py); nothing here imports torch, pandas or Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.methods.contract import Facts
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent

if TYPE_CHECKING:
    from dd_assets.diffusion.wording import Bank


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCentroids:
    """k-means of each class's latents with k = IPC; rows ordered by (IPC index, class), largest cluster first."""

    centers: np.ndarray
    """Mean latents, float32 (IPC * classes, c, h, w), scaled as the generator's denoiser sees them."""
    nearest: np.ndarray
    """The real latent nearest to each centre, none twice, same shape."""
    source_index: np.ndarray
    """Training row of that image, int64 (IPC * classes,)."""
    sizes: np.ndarray
    """Images in each cluster, int64 (IPC * classes,)."""
    classes: int

    def rows(self, indices: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Row numbers of these IPC indices and classes, int64 (n,)."""
        return indices * self.classes + labels

    def of_class(self, label: int) -> np.ndarray:
        """Row numbers of one class, by IPC index, int64 (IPC,)."""
        return np.arange(label, len(self.sizes), self.classes)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceLatents:
    """Real latents to compare samples with; rows of a class (and centroid) stand together, the first wanted most."""

    latents: np.ndarray
    """float32 (rows, c, h, w), scaled as the generator's denoiser sees them."""
    source_index: np.ndarray
    """Training row of each, int64 (rows,)."""
    labels: np.ndarray
    """int64 (rows,)."""
    indices: np.ndarray
    """IPC index of the centroid that a row is near, int64 (rows,); -1 where rows of the class were drawn at random."""

    def of(self, label: int, index: int = -1) -> np.ndarray:
        """Row numbers of a class, or of one of its centroids, int64 (n,)."""
        return np.flatnonzero((self.labels == label) & (self.indices == index))


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassGaussians:
    """Where each class's DDIM-inverted latents lie at one noise level, dimension by dimension."""

    means: np.ndarray
    """float32 (classes, c, h, w), scaled as the generator's denoiser sees them."""
    deviations: np.ndarray
    """float32, same shape."""
    level: float
    """ᾱ of the schedule's step to which they were inverted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Influence:
    """A surrogate along its training, and what real images of a class do to it there."""

    networks: tuple[Any, ...]
    """The kept epochs, first to last: torch Modules, frozen, in eval mode on `device` (input: normalised NCHW)."""
    gradients: Callable[[int], np.ndarray]
    """Label to its mean gradient at each of them, float32 (epochs, parameters), in the order of `parameters()`."""


def _absent(what: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise InputError(f"this synthesis was given no {what}", "declare it in the method's `needs`")

    return refuse


@dataclass(kw_only=True)
class Request:
    """One shard of synthesis: IPC indices `first` to `last` - 1 of every class, for one draw."""

    facts: Facts
    parameters: Any
    ipc: int
    first: int
    last: int
    seed: int
    """The draw's seed; every random choice comes from `dd_assets.randomness` keyed by it and named streams."""
    train: Callable[[], ImageArrays]
    """Loads the real training images; call only if `needs.real_images`."""
    teacher: Callable[[], Any]
    """Loads the teacher, a torch Module in eval mode on `device` (input: normalised NCHW float32)."""
    committee: Callable[[], Mapping[str, Any]] = field(default_factory=lambda: _absent("committee"))
    """Loads the members of `parameters.pool` by name, in the pool's order, each as the teacher is loaded."""
    statistics: Callable[[str], Mapping[str, np.ndarray]] = field(default_factory=lambda: _absent("statistics"))
    """A member's statistics of the real images, float32 arrays named as in synthesis/real_statistics.py."""
    priors: Callable[[], Mapping[str, float]] = field(default_factory=lambda: _absent("priors"))
    """Member to the top-1 accuracy, in percent, of students taught by images distilled from it alone."""
    initial: Callable[[], np.ndarray] = field(default_factory=lambda: _absent("images to start from"))
    """This shard's rows of the image set that `parameters.init` names, uint8 (rows, H, W, C), rows as in the result."""
    generator: Callable[[], Any] = field(default_factory=lambda: _absent("generator"))
    """Loads the generator that `parameters.generator` names, frozen on `device` (diffusion.generator.Generator)."""
    centroids: Callable[[], ClassCentroids] = field(default_factory=lambda: _absent("class centroids"))
    """The centroids of this IPC in that generator's latents."""
    reference_latents: Callable[[], ReferenceLatents] = field(default_factory=lambda: _absent("reference latents"))
    """Real latents in that generator's space, of the choice that `parameters.choice` names."""
    class_gaussians: Callable[[], ClassGaussians] = field(default_factory=lambda: _absent("class gaussians"))
    """The distributions at `parameters.start_level` in that generator's space."""
    prompts: Callable[[], Bank] = field(default_factory=lambda: _absent("prompt bank"))
    """The prompt bank that is an input."""
    influence: Callable[[], Influence] = field(default_factory=lambda: _absent("influence"))
    """The surrogate that influence guidance asks."""
    device: str = "cpu"
    progress: Progress = silent
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)


@dataclass(frozen=True, kw_only=True)
class SyntheticImages:
    """What a synthesis returns, rows ordered by (IPC index, class): row = (index - first) * classes + class."""

    images: np.ndarray
    """uint8 (rows, H, W, C)."""
    labels: np.ndarray
    """int64 (rows,)."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further per-image facts: source_index (int64), crop (int32 (rows, 4): top, left, height, width), score…"""
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Figures over iterations (loss, bn_loss…), float64 (points,); measurements, not part of the content digest."""


Synthesis = Callable[[Request], SyntheticImages]
