"""Several recoveries one after the other, for methods whose numbers of iterations differ by IPC index.

Belongs here: running them in order, with one checkpoint place and one progress. Does not belong: the loop of a single
recovery (recover.py), who needs how many iterations (methods/*/synthesis.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.progress import Checkpoints, Progress
from dd_assets.synthesis.recover import Recovery, recover

NUMBER, IMAGES, LABELS, CURVE = "recovery", "earlier/images", "earlier/labels", "earlier/curve/"


class _Turn:
    """The checkpoint place as one of the recoveries sees it: its own states, saved with what the earlier ones made."""

    def __init__(self, whole: Checkpoints, number: int, made: Sequence[SyntheticImages]) -> None:
        self._whole, self._number = whole, number
        self._earlier = {NUMBER: np.array(number)}
        if made:
            joined = _joined(made)
            self._earlier |= {IMAGES: joined.images, LABELS: joined.labels}
            self._earlier |= {CURVE + name: values for name, values in joined.curves.items()}

    def load(self) -> dict[str, np.ndarray] | None:
        saved = self._whole.load()
        if saved is None or int(saved[NUMBER]) != self._number:
            return None
        return {name: value for name, value in saved.items() if name not in self._earlier}

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        self._whole.save({**self._earlier, **state})


def recover_each(request: Request, recoveries: Sequence[Recovery]) -> SyntheticImages:
    """Run the recoveries in order; rows and points of the curves follow one another in the same order.

    The result of each is the same as alone; a resumed run repeats no finished one. Raises what `recover` raises.
    """
    saved = request.checkpoints.load()
    made: list[SyntheticImages] = []
    begin = 0
    if saved is not None:
        begin = int(saved[NUMBER])
        curves = {name.removeprefix(CURVE): values for name, values in saved.items() if name.startswith(CURVE)}
        if IMAGES in saved:
            made.append(SyntheticImages(images=saved[IMAGES], labels=saved[LABELS], curves=curves))
    steps = [recovery.iterations * len(recovery.batches) for recovery in recoveries]
    for number in range(begin, len(recoveries)):
        progress = _counted(request.progress, sum(steps[:number]), sum(steps))
        turn = replace(request, checkpoints=_Turn(request.checkpoints, number, made), progress=progress)
        made.append(recover(turn, recoveries[number]))
    return _joined(made)


def _counted(progress: Progress, done: int, whole: int) -> Progress:
    """A progress of one part, told as part of the whole."""

    def counted(step: int, total: int, **figures: float) -> None:
        progress(done + step, whole, **figures)

    return counted


def _joined(made: Sequence[SyntheticImages]) -> SyntheticImages:
    return SyntheticImages(
        images=np.concatenate([part.images for part in made]),
        labels=np.concatenate([part.labels for part in made]),
        # A recovery of no iterations has no curves.
        curves={
            name: np.concatenate([part.curves[name] for part in made if name in part.curves])
            for name in dict.fromkeys(name for part in made for name in part.curves)
        },
    )
