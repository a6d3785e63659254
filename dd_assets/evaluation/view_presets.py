"""What a training view is made of, as data.

Belongs here: the knobs of a view and their named presets; light, no torch. Does not belong: making views (views.py).

Source: RD3 paper, section 3.2, Table 8, appendix M; LINs-lab/RDED 3f6453d, validation/main.py and validation/utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dd_assets.bounds import COUNT_OR_NONE, SHARE, SHARE_ABOVE_ZERO, WHOLE, Range, require
from dd_assets.errors import InputError
from dd_assets.later import later

MAX_FACTOR = 5
"""Largest patch-shuffle factor whose two strip orders fit the uint16 code of views.py (120 * 120 < 65536)."""
MAX_MAGNITUDE = 30
"""RandAugment's, of torchvision's 31 bins."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """How a training image becomes a view, in this order: patch shuffle, crop, flip, RandAugment, colour jitter, CutMix
    or Mixup, normalise. RD3 has neither RandAugment nor jitter nor Mixup; papers' own recipes do."""

    preset: str
    shuffle_factor: int
    """Strips per axis (factor 2: 4 arrangements, RDED:validation/utils.py); 1 is the identity."""
    crop_scale_min: float
    """Lower bound of the crop's area; the upper bound is 1. Scale (1, 1) is exactly the identity."""
    hflip: float
    """Probability of a mirror image."""
    cutmix_alpha: float = 1.0
    """Beta parameter, applied to every batch; 0 turns CutMix off."""
    mixup_alpha: float = later(0.0)
    """Beta parameter of Mixup in CutMix's place, .05 to 2, applied to every batch; 0 turns it off."""
    rand_operations: int = later(0)
    """RandAugment's operations per view; 0 turns it off."""
    rand_magnitude: int = later(0)
    """Their magnitude, 0 to 30 (torchvision's 31 bins)."""
    jitter: float = later(0.0)
    """Brightness, contrast and saturation are each multiplied by a factor in 1 ± this, in random order."""

    def __post_init__(self) -> None:
        require("views", self, _RANGES)
        if self.mixup_alpha and self.cutmix_alpha:
            raise InputError(f"views: mixup_alpha={self.mixup_alpha} with CutMix", "use one of the two, the other 0")
        if self.rand_magnitude and not self.rand_operations:
            idle = f"views: rand_magnitude={self.rand_magnitude} would change nothing"
            raise InputError(idle, "set `rand_operations`")


def _between(least: int, most: int) -> Range:
    return Range(lambda value: WHOLE.holds(value) and least <= value <= most, f"{least} to {most}")


_RANGES: Mapping[str, Range] = {
    "shuffle_factor": _between(1, MAX_FACTOR),
    "crop_scale_min": SHARE_ABOVE_ZERO,
    "hflip": SHARE,
    "cutmix_alpha": Range(lambda value: value >= 0 and float(value).is_integer(), "0 (off) or a whole number"),
    "mixup_alpha": Range(lambda value: value == 0 or 0.05 <= value <= 2, "0 (off) or 0.05 to 2"),
    "rand_operations": COUNT_OR_NONE,
    "rand_magnitude": _between(0, MAX_MAGNITUDE),
    "jitter": SHARE,
}

VIEW_PRESETS = {
    # RD3 section 3.2 and Table 8 read literally: crop from .5 and patch shuffle for every dataset.
    "rd3": Views(preset="rd3", shuffle_factor=2, crop_scale_min=0.5, hflip=0.5),
    # RDED's scripts: factor 1 for CIFAR and Tiny-ImageNet, that is flip and CutMix only.
    "rded_factor": Views(preset="rded_factor", shuffle_factor=1, crop_scale_min=1.0, hflip=0.5),
}
