"""What a bare GPU machine can measure and compute: steps against the baselines, the CIFAR-10 teacher, scores of sets.

Belongs here: pieces of under eight minutes that need torch, torchvision and numpy alone. Does not belong: Dagster, the
store, Parquet.

    python -m benchmarks.gpu pack FOLDER             # here: CIFAR-10 (DD_DATA_ROOT, DD_DATASETS) as .npy halves
    python -m benchmarks.gpu steps --out OUT         # there: ms per step and iteration, against the baselines
    python -m benchmarks.gpu teacher FOLDER --out OUT [--seconds 420]    # goes on from OUT where it was stopped
    python -m benchmarks.gpu score FOLDER SET.npz --teacher FILE --out OUT [--seeds 3]
    python -m benchmarks.gpu all --dry               # every path on the CPU, made-up data, about a minute
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.baselines import ArmA, ArmB, PlainRecovery
from benchmarks.common import interleaved, machine, report
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.evaluation.accuracy import evaluate, prepare_test
from dd_assets.evaluation.labels import compute_logits
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.students import train_student
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.methods.contract import Facts
from dd_assets.methods.registry import method
from dd_assets.methods.request import Request
from dd_assets.methods.sre2l.synthesis import synthesise
from dd_assets.models.architectures import build_model
from dd_assets.models.training import train_teacher

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
EPOCHS, SCORINGS, TESTS = 400, 8, 10_000
"""Of a whole evaluation at IPC 10."""
SETTING = CATALOGUE["cifar10"]
HALVES = ("train_images_0.npy", "train_images_1.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")


class _Stop(Exception):
    """The time of this piece is over; what it did is saved."""


class FileCheckpoints:
    """One checkpoint in a .npz file, replaced atomically; raises _Stop after a save once the time is over."""

    def __init__(self, path: Path, until: float) -> None:
        self.path, self.until = path, until

    def load(self) -> dict[str, np.ndarray] | None:
        """The saved state, or None."""
        if not self.path.exists():
            return None
        with np.load(self.path, allow_pickle=False) as saved:
            return dict(saved)

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace it."""
        beside = self.path.with_suffix(".tmp.npz")
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
        np.savez(beside, **arrays)
        os.replace(beside, self.path)
        if time.monotonic() > self.until:
            raise _Stop


def pack(folder: Path) -> None:
    """CIFAR-10 as uint8 arrays, the training images in two halves small enough to travel one at a time."""
    from dd_assets.datasets.registry import settings
    from dd_resources.raw_data import RawData

    named = next(name for name, entry in settings().items() if entry.data == "cifar10")
    train, test = RawData(os.environ.get("DD_DATA_ROOT", "")).load(named)
    middle = len(train) // 2
    parts = (train.images[:middle], train.images[middle:], train.labels, test.images, test.labels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(HALVES, parts, strict=True):
        np.save(folder / name, part, allow_pickle=False)


def unpack(folder: Path) -> tuple[ImageArrays, ImageArrays]:
    """(train, test) of a packed folder."""
    first, second, labels, tests, truth = (np.load(folder / name, allow_pickle=False) for name in HALVES)
    return ImageArrays(np.concatenate([first, second]), labels), ImageArrays(tests, truth)


def made_up(train: int, test: int, size: int = 32) -> tuple[ImageArrays, ImageArrays]:
    """Arrays of noise of CIFAR-10's shape, for timing and for --dry."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (train + test, size, size, 3), dtype=np.uint8)
    labels = np.arange(train + test) % 10
    return ImageArrays(images[:train], labels[:train]), ImageArrays(images[train:], labels[train:])


def steps(device: str, sizes: tuple[int, ...], rounds: int, epochs: int, network: str) -> list[dict[str, Any]]:
    """Milliseconds of a training step (batch 50, labels included), of an SRe2L iteration (100 images) and, at 32 px,
    of a whole evaluation made up of timed epochs and scorings of 10,000 images, by arm."""
    rows = []
    for size in sizes:
        train, test = made_up(100, 100, size)
        statistics = (list(SETTING.normalisation.mean), list(SETTING.normalisation.std))
        given = ((train.images, train.labels), (test.images, test.labels), statistics)
        baselines = {
            "A": ArmA(network_of(network, size), network_of(network, size), *given, batch=50, workers=2, device=device),
            "B": ArmB(network_of(network, size), network_of(network, size), *given, batch=50, device=device),
        }
        ours = (network_of(network, size), network_of(network, size).eval())
        one = ImageArrays(test.images[:1], test.labels[:1])  # scored at the end of a training, whatever is timed
        arms: dict[str, Any] = {name: arm.epoch for name, arm in baselines.items()}
        scorings: dict[str, Any] = {name: arm.score for name, arm in baselines.items()}
        tests, truth = prepare_test(test.images).to(device), torch.from_numpy(test.labels).to(device)
        for precision in PRECISIONS:
            name = f"dd-assets, {precision}"
            arms[name] = partial(_train, *ours, train, one, epochs=1, device=device, precision=precision)
            scorings[name] = partial(_scored, ours[0], tests, truth, precision)
        timed = interleaved(arms, rounds, device)
        rows += _rows(f"train {size} px", timed, 2)
        if size == 32:
            scored = interleaved(scorings, rounds, device)
            whole = {
                name: {"wall": EPOCHS * found["wall"] + SCORINGS * TESTS / len(test) * scored[name]["wall"]}
                for name, found in timed.items()
            }
            rows += _rows(f"whole evaluation {size} px", whole, 1)
        plain = PlainRecovery(network_of(network, size), torch.arange(100) % 10, size, device)
        frozen = network_of(network, size).eval().requires_grad_(False).to(device)
        arms = {"A": lambda plain=plain: [plain.step() for _ in range(epochs)]}
        for precision in PRECISIONS:
            arms[f"dd-assets, {precision}"] = partial(recover, frozen, size, epochs, device, precision)
        rows += _rows(f"SRe2L {size} px", interleaved(arms, rounds, device), epochs)
    return rows


def _scored(student: nn.Module, tests: Tensor, truth: Tensor, precision: Precision) -> Tensor:
    return evaluate(student, tests, truth, SETTING.normalisation, precision).sum()


def _rows(what: str, timed: Mapping[str, Mapping[str, float]], steps: int) -> list[dict[str, Any]]:
    base = timed["A"]["wall"]
    return [
        {"what": what, "arm": arm, "ms": 1000 * found["wall"] / steps, "faster_than_A": base / found["wall"]}
        for arm, found in timed.items()
    ]


def network_of(name: str, size: int, seed: int = 0) -> nn.Module:
    """A network for ten classes of RGB images, initialised from the seed."""
    return build_model(name, classes=10, channels=3, size=size, seed=seed)


def recover(teacher: nn.Module, size: int, iterations: int, device: str, precision: Precision = "fp32") -> None:
    """SRe2L of a hundred images in one batch, as the CIFAR-10 recipe does it but for the number of iterations."""
    parameters = replace(method("sre2l").recipe_for("cifar10").parameters, iterations=iterations, precision=precision)
    facts = Facts(
        setting="cifar10",
        classes=SETTING.classes,
        train_counts=(5000,) * 10,
        size=size,
        channels=3,
        normalisation=SETTING.normalisation,
        hflip=True,
    )
    layout = replace(parameters, batch_layout="whole_set")
    synthesise(
        Request(
            facts=facts,
            parameters=layout,
            ipc=10,
            first=0,
            last=10,
            seed=0,
            train=lambda: made_up(10, 10, size)[0],
            teacher=lambda: teacher,
            device=device,
        )
    )


def _train(
    student: nn.Module,
    teacher: nn.Module,
    images: ImageArrays,
    test: ImageArrays,
    *,
    epochs: int,
    device: str,
    seed: int = 0,
    checkpoints: Any = None,
    precision: Precision = "fp32",
    views: str = "rd3",
) -> dict[str, Any]:
    """Labels, training and score of one student under RD3's protocol."""
    stated = Protocol(views=VIEW_PRESETS[views], epochs=epochs, precision=precision)
    protocol = stated.for_student(True, len(images))
    logits = compute_logits(
        teacher,
        images.images,
        protocol.views,
        SETTING.normalisation,
        batch=protocol.batch,
        epochs=epochs,
        seed=seed,
        device=device,
        precision=precision,
    )
    score = train_student(
        student,
        images_u8=images.images,
        labels=images.labels,
        protocol=protocol,
        view_seed=seed,
        test=test,
        normalisation=SETTING.normalisation,
        logits=logits,
        device=device,
        checkpoints=checkpoints,
    )
    return {"last": score.last_accuracy, "best": score.best_accuracy, "curve": score.accuracy_curve.tolist()}


def teach(
    train: ImageArrays, test: ImageArrays, out: Path, *, device: str, seconds: float, network: str, epochs: int | None
) -> None:
    """Train the CIFAR-10 teacher by the project's recipe, or go on; weights and figures lie in `out` at the end."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = SETTING.teacher.recipe if epochs is None else replace(SETTING.teacher.recipe, epochs=epochs)
    place = FileCheckpoints(out / "teacher_checkpoint.npz", time.monotonic() + seconds)
    model = network_of(network, 32)
    model.to(memory_format=torch.channels_last)
    try:
        result = train_teacher(model, train, test, recipe, SETTING.normalisation, 0, device, checkpoints=place)
    except _Stop:
        print(f"stopped after {seconds:.0f} s; run the same command to go on")
        return
    np.savez(out / "teacher.npz", **{name: value.cpu().numpy() for name, value in result.state.items()})
    figures = {"accuracy": result.test_accuracy, "epochs": recipe.epochs, "machine": machine(device)}
    (out / "teacher.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(figures)


def score(
    images: ImageArrays,
    test: ImageArrays,
    teacher: nn.Module,
    out: Path,
    *,
    device: str,
    network: str,
    seeds: int,
    epochs: int,
    seconds: float,
    name: str,
) -> None:
    """Score a stored set with several seeds; finished seeds are kept, an unfinished one goes on at the next call."""
    out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    for seed in range(seeds):
        path = out / f"{name}_seed{seed}.json"
        if path.exists():
            continue
        place = FileCheckpoints(out / f"{name}_checkpoint{seed}.npz", until)
        try:
            began = time.perf_counter()
            found = _train(
                network_of(network, 32, seed),
                teacher,
                images,
                test,
                epochs=epochs,
                device=device,
                seed=seed,
                checkpoints=place,
                views="rded_factor",
            )
        except _Stop:
            print("stopped; run the same command to go on")
            return
        path.write_text(
            json.dumps({**found, "seconds": time.perf_counter() - began, "machine": machine(device)}) + "\n"
        )
        print(path.name, found["last"])


def _set(path: Path) -> ImageArrays:
    with np.load(path, allow_pickle=False) as saved:
        return ImageArrays(saved["images"], saved["labels"])


def _weights(path: Path, network: str, device: str) -> nn.Module:
    model = network_of(network, 32)
    with np.load(path, allow_pickle=False) as saved:
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in saved.items()})
    return model.to(device).eval().requires_grad_(False)


def dry() -> None:
    """Every path on the CPU with small networks and noise; nothing measured here means anything."""
    train, test = made_up(200, 100)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name, part in zip(
            HALVES, (train.images[:100], train.images[100:], train.labels, test.images, test.labels), strict=True
        ):
            np.save(out / name, part, allow_pickle=False)
        packed = unpack(out)
        report("steps", steps("cpu", (32,), 1, 2, "resnet20_cifar"), str(out / "steps.json"))
        for seconds in (0.0, 60.0):  # the first call stops at its first checkpoint, the second goes on
            teach(*packed, out, device="cpu", seconds=seconds, network="resnet20_cifar", epochs=2)
        np.savez(out / "set.npz", images=train.images[:20], labels=train.labels[:20])
        teacher = _weights(out / "teacher.npz", "resnet20_cifar", "cpu")
        for seconds in (0.0, 60.0):
            score(
                _set(out / "set.npz"),
                test,
                teacher,
                out,
                device="cpu",
                network="resnet20_cifar",
                seeds=2,
                epochs=20,
                seconds=seconds,
                name="set",
            )
        made = sorted(path.name for path in out.glob("*.json"))
        assert made == ["set_seed0.json", "set_seed1.json", "steps.json", "teacher.json"], made
        print("every path ran")


def main() -> None:
    """Read the command line; see the module's text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("pack", "steps", "teacher", "score", "all"))
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("gpu_out"))
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dry", action="store_true")
    given = parser.parse_args()
    if given.dry:
        dry()
    elif given.what == "pack":
        pack(given.paths[0])
    elif given.what == "steps":
        report(
            "steps", steps(given.device, (32, 224), 5, 10, given.network), str(given.out / "steps.json"), given.device
        )
    elif given.what == "teacher":
        teach(
            *unpack(given.paths[0]),
            given.out,
            device=given.device,
            seconds=given.seconds,
            network=given.network,
            epochs=None,
        )
    elif given.what == "score":
        score(
            _set(given.paths[1]),
            unpack(given.paths[0])[1],
            _weights(given.teacher, given.network, given.device),
            given.out,
            device=given.device,
            network=given.network,
            seeds=given.seeds,
            epochs=given.epochs,
            seconds=given.seconds,
            name=given.paths[1].stem,
        )
    else:
        parser.error("`all` is for --dry; name one piece at a time")


if __name__ == "__main__":
    main()
