"""Minimax diffusion's two terms and the memories that they look into.

Belongs here: representativeness and diversity of predicted clean latents, per class. Does not belong: the loop that
adds them to its loss (finetuning.py), which parameters it moves (difffit.py).

Source: Gu, Vahidian, Kungurtsev, Wang, Jiang, You, Chen, CVPR 2024, arXiv 2311.15529; vimar-gu/MinimaxDiffusion
969fc6f, train_dit.py. The paper averages a minimum over each sample; the code takes one over all pairs of a class, and
so does this.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from dd_assets.shapes import Float

REAL, PREDICTED = "memory/real/", "memory/predicted/"


def cosines(rows: Float[Tensor, "n d"], others: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """The cosine of every pair of rows."""
    norms = rows.norm(dim=1)[:, None] * others.norm(dim=1)[None]
    return rows @ others.T / norms


def representativeness(predicted: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """1 - the lowest cosine of all pairs: going down raises the pair that is furthest apart, not the nearest one."""
    return 1 - cosines(predicted, real).min()


def diversity(predicted: Float[Tensor, "n d"], earlier: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The highest cosine of all pairs: going down parts the two that are nearest to each other."""
    return cosines(predicted, earlier).max()


class Memories:
    """Per class the last `size` real latents and the last `size` predictions, without any graph."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.real: dict[int, Tensor] = {}
        self.predicted: dict[int, Tensor] = {}

    def terms(self, predicted: Float[Tensor, "n c h w"], labels: np.ndarray) -> tuple[Tensor, Tensor]:
        """(representativeness, diversity) of a batch: sums over its classes, divided by their number.

        A class that nothing is remembered of adds 0 and counts in the number. labels: int64 (n,), the images' own,
        also where the network was asked without a class.
        """
        close, apart = predicted.new_zeros(()), predicted.new_zeros(())
        present = np.unique(labels)
        for label in present.tolist():
            if label not in self.predicted:
                continue
            own = predicted[torch.from_numpy(np.flatnonzero(labels == label)).to(predicted.device)].flatten(1)
            close = close + representativeness(own, self.real[label]) / len(present)
            apart = apart + diversity(own, self.predicted[label]) / len(present)
        return close, apart

    def remember(self, real: Float[Tensor, "n c h w"], predicted: Float[Tensor, "n c h w"], labels: np.ndarray) -> None:
        """Add a batch, after its terms were taken: before, each prediction would be compared with itself."""
        for label in np.unique(labels).tolist():
            rows = torch.from_numpy(np.flatnonzero(labels == label)).to(real.device)
            for kept, values in ((self.real, real), (self.predicted, predicted)):
                new = values.detach()[rows].flatten(1).float()
                kept[label] = torch.cat([kept[label], new] if label in kept else [new])[-self.size :]

    def pack(self) -> dict[str, np.ndarray]:
        """Both memories as named arrays, for a checkpoint."""
        stated = ((REAL, self.real), (PREDICTED, self.predicted))
        return {f"{prefix}{label}": rows.cpu().numpy() for prefix, kept in stated for label, rows in kept.items()}

    def unpack(self, saved: Mapping[str, np.ndarray], device: str | torch.device) -> None:
        """Restore what `pack` gave, in place."""
        for prefix, kept in ((REAL, self.real), (PREDICTED, self.predicted)):
            found = {name: rows for name, rows in saved.items() if name.startswith(prefix)}
            kept |= {int(name.removeprefix(prefix)): torch.tensor(rows, device=device) for name, rows in found.items()}
