"""Training a surrogate and keeping the epochs at which its class gradients have turned.

Belongs here: the adaptive rule around the teachers' loop (training.py). Does not belong: that loop, the gradients
(synthesis/influence.py).

Source: IGD (ICLR 2025), mchen725/DD_IGD 912e868, test_ckpts_grad_sim.py: the first epoch is kept; then each whose class
gradients have a mean cosine below .7 to those of the epoch kept last. It kept four of fifty (Imagewoof: 0, 5, 16, 40).
Its list of networks begins with the untrained one (`untrained_first`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.models.architectures import build_model
from dd_assets.models.surrogates import SurrogateRecipe
from dd_assets.models.training import TeacherResult, train_teacher
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent
from dd_assets.synthesis.influence import class_gradient, cosine

KEPT, TURNS = "kept/", "turns"
MODEL = "model/"
"""Prefix of the weights in the loop's own checkpoints."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory:
    """What a surrogate's training left."""

    result: TeacherResult
    kept: Mapping[int, Mapping[str, Tensor]]
    """Epoch, counted from 0, to the weights at its end; with `untrained_first` epochs trained to the weights then."""
    turns: np.ndarray
    """Mean cosine of class gradients to those of what was kept last before, float64, for every network judged."""


class Keeping:
    """Checkpoints of the loop that also keep the epochs which the rule chooses.

    network: one that begins as the trained one does; it is what gradients are asked of.
    """

    def __init__(
        self,
        place: Checkpoints,
        network: nn.Module,
        train: ImageArrays,
        recipe: SurrogateRecipe,
        normalisation: Normalisation,
        seed: int,
        device: str,
    ) -> None:
        self.place, self.network, self.train, self.recipe = place, network, train, recipe
        self.normalisation, self.seed, self.device = normalisation, seed, device
        self.kept: dict[int, dict[str, np.ndarray]] = {}
        self.turns: list[float] = []
        self._last: list[Tensor] = []
        self._untrained = {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}

    def load(self) -> dict[str, np.ndarray] | None:
        """The loop's state; what had been kept until then is taken up again."""
        saved = self.place.load()
        if saved is None:
            return None
        self.turns = saved[TURNS].tolist()
        for name, value in saved.items():
            if name.startswith(KEPT):
                epoch, tensor = name.removeprefix(KEPT).split("/", 1)
                self.kept.setdefault(int(epoch), {})[tensor] = value
        self._last = self._gradients(self.kept[max(self.kept)])
        own = (f"{MODEL}", "momentum/", "history/")
        return {name: value for name, value in saved.items() if name.startswith(own)}

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Judge the epoch that has just ended, keep it or not, and pass everything on."""
        if self.recipe.untrained_first and not self.turns:
            self._judge(self._untrained)
        self._judge({name.removeprefix(MODEL): value for name, value in state.items() if name.startswith(MODEL)})
        further = {f"{KEPT}{epoch}/{name}": v for epoch, own in self.kept.items() for name, v in own.items()}
        self.place.save({**state, **further, TURNS: np.array(self.turns)})

    def _judge(self, weights: Mapping[str, np.ndarray]) -> None:
        epoch, found = len(self.turns), self._gradients(weights)
        turn = float(np.mean([float(cosine(*pair)) for pair in zip(found, self._last, strict=True)])) if epoch else 0.0
        self.turns.append(turn)
        if not epoch or turn < self.recipe.threshold:
            self.kept[epoch] = {name: np.array(value) for name, value in weights.items()}
            self._last = found

    def _gradients(self, weights: Mapping[str, np.ndarray]) -> list[Tensor]:
        """The mean gradient of every class under these weights."""
        self.network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        return [
            class_gradient(
                self.network, self.train, label, self.recipe.images, self.normalisation, self.seed, self.device
            )
            for label in range(int(self.train.labels.max()) + 1)
        ]


def train_surrogate(
    train: ImageArrays,
    test: ImageArrays,
    recipe: SurrogateRecipe,
    normalisation: Normalisation,
    *,
    classes: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> Trajectory:
    """Train by the teachers' loop and keep epochs by the rule; goes on bit-identically from a checkpoint.

    The test split is only measured on. Raises InputError if a loss is not finite.
    """
    size, channels = train.images.shape[1], train.images.shape[3]
    model, probe = (
        build_model(recipe.architecture, classes=classes, channels=channels, size=size, seed=seed) for _ in range(2)
    )
    place = Keeping(checkpoints or NoCheckpoints(), probe.to(device).eval(), train, recipe, normalisation, seed, device)
    result = train_teacher(
        model, train, test, recipe, normalisation, seed, device=device, progress=progress, checkpoints=place
    )
    kept = {
        epoch: {name: torch.tensor(value) for name, value in own.items()} for epoch, own in sorted(place.kept.items())
    }
    return Trajectory(result=result, kept=kept, turns=np.array(place.turns))
