"""Does a method keep the contract? The checks every method here passes, for methods from elsewhere.

Belongs here: running a synthesis on small made-up data and comparing what it returns. Does not belong: whether the
method is true to its paper, which only its own tests can tell.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.errors import InputError, cause_in
from dd_assets.methods.contract import Facts, Method, with_overrides
from dd_assets.methods.request import Request, Synthesis, SyntheticImages

CLASSES, PER_CLASS, SIZE, CHANNELS, IPC = 3, 12, 16, 3, 2
MAKES = ("teacher", "real_images", "committee")
"""The needs that small stand-ins can be made for."""
HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "diffusers", "dagster")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check and its outcome."""

    check: str
    passed: bool
    message: str


class _Interrupted(Exception):
    """The checkpoint place ends the synthesis here."""


class _BreachError(Exception):
    """What a synthesis did that leaves nothing to compare: it raised, or returned something else than images."""


class _Place:
    """A checkpoint place in memory that may interrupt right after its first save."""

    def __init__(self, interrupt: bool) -> None:
        self.state: dict[str, np.ndarray] | None = None
        self.interrupt = interrupt

    def load(self) -> dict[str, np.ndarray] | None:
        return self.state

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = {name: np.array(value) for name, value in state.items()}
        if self.interrupt:
            self.interrupt = False
            raise _Interrupted


def check_method(method: Method, overrides: Mapping[str, Any] | None = None) -> list[Finding]:
    """Every check of the contract on three made-up classes of 16 px and untrained networks; about the cost of six
    syntheses of six images, so give `overrides` (fewer iterations) to a method that takes long.

    A method that does not run, or returns images of another shape, is asked nothing further. Raises InputError for one
    that reads what cannot be made up here (statistics, priors, generators, other methods' images), UnknownNameError for
    an override that is no parameter.
    """
    parameters = with_overrides(method.recipe_for("default").parameters, overrides or {}, method.name)
    unmet = [name for name in method.needs.names() if name not in MAKES]
    start = method.images_of(parameters)
    if unmet or start:
        raise InputError(
            f"{method.name} reads {', '.join(unmet) or f'the images of {start}'}, which this check cannot make up",
            "check it by tests of its own, as tests/methods does for the methods here",
        )
    bench = _Bench(method, parameters)
    found = [bench.declaration(), bench.light()]
    for check in (bench.runs, bench.shape):
        found.append(_outcome(check))
        if not found[-1].passed:
            return found
    further: tuple[Callable[[], Finding], ...] = (
        bench.order,
        bench.repeatable,
        bench.own_randomness,
        bench.draws,
        bench.shards,
        bench.resume,
        bench.inputs_unchanged,
    )
    return found + [_outcome(check) for check in further]


def _outcome(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except _BreachError as breach:
        return _finding(check.__name__, [str(breach)], "")


class _Bench:
    """One method on one made-up dataset."""

    def __init__(self, method: Method, parameters: Any) -> None:
        self.method, self.parameters = method, parameters
        pixels = randomness.integers(256, CLASSES * PER_CLASS * SIZE**2 * CHANNELS, 0, "check", "images")
        images = pixels.astype(np.uint8).reshape(-1, SIZE, SIZE, CHANNELS)
        self.train = ImageArrays(images, np.repeat(np.arange(CLASSES), PER_CLASS))
        self.facts = Facts(
            setting="made_up",
            classes=tuple(f"class {label}" for label in range(CLASSES)),
            train_counts=(PER_CLASS,) * CLASSES,
            size=SIZE,
            channels=CHANNELS,
            normalisation=Normalisation(mean=(0.5,) * CHANNELS, std=(0.25,) * CHANNELS),
            hflip=True,
            committee=tuple(getattr(parameters, "pool", ())) or ("first", "second"),
        )
        self.networks: list[Any] = []

    @cached_property
    def usual(self) -> SyntheticImages:
        """What the request that all others are compared with gives."""
        return self.run()

    def run(self, first: int = 0, last: int = IPC, seed: int = 0, place: Any = None) -> SyntheticImages:
        """The method's images of IPC indices first to last - 1; raises _BreachError where there are none."""
        request = Request(
            facts=self.facts,
            parameters=self.parameters,
            ipc=IPC,
            first=first,
            last=last,
            seed=seed,
            train=lambda: self.train,
            teacher=lambda: self._network(0),
            committee=lambda: {name: self._network(number) for number, name in enumerate(self.facts.committee)},
            checkpoints=place or _Place(interrupt=False),
        )
        module, _, function = self.method.synthesis.partition(":")
        try:
            synthesise: Synthesis = getattr(import_module(module), function)
            made = synthesise(request)
        except _Interrupted:
            raise
        except Exception as error:
            # Somebody else's code may raise anything.
            raise _BreachError(cause_in(module.rpartition(".")[0], error)) from error
        if not isinstance(made, SyntheticImages):
            raise _BreachError(f"{self.method.synthesis} returns {_kind(made)}, not SyntheticImages")
        for name, values in {"images": made.images, "labels": made.labels, **made.columns}.items():
            if not isinstance(values, np.ndarray):
                raise _BreachError(f"{name} is {_kind(values)}, not a NumPy array")
        return made

    def _network(self, seed: int) -> Any:
        from dd_assets.models.architectures import build_model

        made = build_model("convnet2_w64", classes=CLASSES, channels=CHANNELS, size=SIZE, seed=seed)
        made.eval().requires_grad_(False)
        self.networks.append((made, {name: value.clone() for name, value in made.state_dict().items()}))
        return made

    def declaration(self) -> Finding:
        """Texts are there, parameters survive JSON."""
        empty = [n for n in ("title", "paper", "code", "differs", "summary") if not getattr(self.method, n).strip()]
        wrong = [f"{name} is empty" for name in empty]
        for data, recipe in self.method.recipes.items():
            stated = dataclasses.asdict(recipe.parameters)
            if json.loads(json.dumps(stated)) != json.loads(json.dumps(_listed(stated))):
                wrong.append(f"the parameters for {data} change in JSON")
            if not recipe.source.strip():
                wrong.append(f"the recipe for {data} names no source")
        return _finding("declaration", wrong, f"{len(self.method.recipes)} recipes")

    def light(self) -> Finding:
        """The recipe is read whenever definitions load, so it must not bring in what only a synthesis needs."""
        module = self.method.refuse.__module__
        script = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        wrong = [f"importing {module} brings in {done.stdout.strip()}"] if done.stdout.strip() else []
        wrong += [f"importing {module} fails: {done.stderr.strip().splitlines()[-1]}"] if done.returncode else []
        return _finding("light_recipe", wrong, f"{module} imports nothing heavy")

    def runs(self) -> Finding:
        """A small cell is not refused, and the synthesis returns images."""
        try:
            reason = self.method.reason_against(self.parameters, self.facts, IPC)
        except Exception as error:
            # `refuse` is the method's own.
            raise _BreachError(cause_in(self.method.refuse.__module__, error)) from error
        if reason:
            return _finding("runs", [f"IPC {IPC} of {PER_CLASS} images per class is refused: {reason}"], "")
        return _finding("runs", [], f"{len(self.usual.images)} images")

    def shape(self) -> Finding:
        """uint8 (rows, size, size, channels), and columns of as many rows."""
        expected = (IPC * CLASSES, SIZE, SIZE, CHANNELS)
        found = self.usual.images
        wrong = [] if (found.shape, found.dtype) == (expected, np.uint8) else [f"images {found.shape} {found.dtype}"]
        wrong += [f"column {n} has {len(v)} rows" for n, v in self.usual.columns.items() if len(v) != expected[0]]
        return _finding("shape", wrong, f"uint8 {expected}")

    def order(self) -> Finding:
        """Rows by (IPC index, class), int64 labels."""
        expected = np.tile(np.arange(CLASSES), IPC)
        labels = self.usual.labels
        right = labels.dtype == np.int64 and np.array_equal(labels, expected)
        return _finding("order", [] if right else [f"labels {labels.tolist()}"], "rows by (IPC index, class)")

    def repeatable(self) -> Finding:
        """The same request gives the same bits."""
        return self._same("repeatable", self.run(), "two runs of one request")

    def own_randomness(self) -> Finding:
        """Neither reads nor moves the global generators of NumPy and torch."""
        import torch

        before_numpy, before_torch = np.random.get_state(), torch.get_rng_state()
        np.random.seed(12345)
        torch.manual_seed(54321)
        moved_from = np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
        result = self.run()
        still = np.random.get_state()[1].tolist() == moved_from[0] and torch.equal(  # type: ignore[index]
            torch.get_rng_state(), moved_from[1]
        )
        np.random.set_state(before_numpy)
        torch.set_rng_state(before_torch)
        found = self._same("own_randomness", result, "runs under other global seeds")
        if found.passed and not still:
            return _finding("own_randomness", ["it draws from a global generator"], "")
        return found

    def draws(self) -> Finding:
        """More than one draw is declared only where the seed makes a difference."""
        alike = np.array_equal(self.run(seed=1).images, self.usual.images)
        wrong = [
            f"{self.method.draws} draws are declared, but another seed gives the same images: declare draws=1, or check"
            f" with parameters (--set) that leave a choice among {PER_CLASS} images per class"
        ]
        return _finding("draws", wrong if alike and self.method.draws > 1 else [], f"{self.method.draws} declared")

    def shards(self) -> Finding:
        """Where shards are single IPC indices, each is a part of the whole."""
        if not self.method.shards_by_index(self.parameters):
            return _finding("shards", [], "one shard per set")
        parts = [self.run(index, index + 1).images for index in range(IPC)]
        same = np.array_equal(np.concatenate(parts), self.usual.images)
        return _finding("shards", [] if same else ["IPC indices made one by one differ from the set"], "equal bits")

    def resume(self) -> Finding:
        """A synthesis interrupted at its first checkpoint ends with the same bits."""
        place = _Place(interrupt=True)
        try:
            self.run(place=place)
        except _Interrupted:
            return self._same("resume", self.run(place=place), "interrupted and undisturbed runs")
        return _finding("resume", [], "it saves no checkpoint, so an interrupted shard starts again")

    def inputs_unchanged(self) -> Finding:
        """Real images and networks are others' too."""
        import torch

        wrong = []
        for network, before in self.networks:
            state = network.state_dict()
            if network.training or any(not torch.equal(state[name], value) for name, value in before.items()):
                wrong.append("it changes a network it was given")
                break
        pixels = randomness.integers(256, self.train.images.size, 0, "check", "images").astype(np.uint8)
        if not np.array_equal(pixels, self.train.images.reshape(-1)):
            wrong.append("it changes the real images")
        return _finding("inputs_unchanged", wrong, "real images and networks are as they were")

    def _same(self, check: str, other: SyntheticImages, what: str) -> Finding:
        if other.images.shape != self.usual.images.shape:
            return _finding(check, [f"{what} differ in shape: {self.usual.images.shape}, {other.images.shape}"], "")
        count = int((self.usual.images != other.images).any(axis=(1, 2, 3)).sum())
        return _finding(
            check, [f"{what} differ in {count} of {len(other.images)} images"] if count else [], "same bits"
        )


def _listed(value: Any) -> Any:
    """Tuples as JSON has them."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _finding(check: str, wrong: list[str], otherwise: str) -> Finding:
    return Finding(check=check, passed=not wrong, message="; ".join(wrong) or otherwise)
