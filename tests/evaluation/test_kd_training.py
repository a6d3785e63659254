"""Students under the distillation losses, other optimisers and averages: they resume with the same bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional as tv

from dd_assets.datasets.registry import setting
from dd_assets.evaluation import strong_views as strong_views_module
from dd_assets.evaluation.optimiser import Average, learning_rate
from dd_assets.evaluation.protocol import STUDENT_RATES, Protocol
from dd_assets.evaluation.strong_views import TABLE, cutout, strong_views
from dd_assets.evaluation.students import train_student
from dd_assets.evaluation.view_presets import VIEW_PRESETS, Views
from dd_assets.progress import NoCheckpoints
from dd_assets.units import training
from tests.evaluation.helpers import GREY, convnet, images, two_tone

VIEWS = Views(preset="test", shuffle_factor=1, crop_scale_min=1.0, hflip=0.0)


def train(checkpoints: Any = None, seed: int = 0, **changes: Any) -> tuple[Any, torch.nn.Module]:
    """A small student on ten images of two classes; soft labels by a network of another seed, online."""
    torch.set_num_threads(1)
    stated = {"views": VIEWS, "epochs": 6, "batch": 5, "window_step": 1, "label_storage": "online", **changes}
    model = convnet(channels=1, classes=2, seed=1)
    data = two_tone(10, seed=0)
    score = train_student(
        model,
        images_u8=data.images,
        labels=data.labels,
        protocol=Protocol(**stated),
        view_seed=seed,
        test=two_tone(40, seed=1),
        normalisation=GREY,
        teacher=convnet(channels=1, classes=2, seed=2),
        checkpoints=checkpoints or NoCheckpoints(),
    )
    return score, model


class _Memory:
    """Keeps the checkpoint after a chosen number of epochs and, when told to, stops there."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.state = epoch, None

    def load(self) -> dict[str, np.ndarray] | None:
        return self.state

    def save(self, state: dict[str, np.ndarray]) -> None:
        if int(state["epoch"]) == self.epoch:
            self.state = {name: np.array(value) for name, value in state.items()}

    def clear(self) -> None:
        self.state = None


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "dkd", "temperature": 4.0, "dkd_warmup": 3},
        {"loss": "crld", "temperature": 4.0, "kd_ce": 1.0},
        {
            "optimiser": "sgd",
            "schedule": "multistep",
            "learning_rate": 0.01,
            "label": "hard",
            "label_storage": "stored",
        },
        {"optimiser": "sgd", "momentum": 0.0, "learning_rate": 0.01},
        {"ema": 0.9, "schedule": "cos2"},
    ],
    ids=["dkd", "crld", "sgd", "plain sgd", "ema"],
)
def test_a_training_cut_after_three_epochs_ends_with_the_same_bits(changes: dict[str, Any]) -> None:
    memory = _Memory(3)
    whole, first = train(memory, **changes)
    assert memory.state is not None
    again, second = train(memory, **changes)
    assert np.array_equal(whole.loss_curve[3:], again.loss_curve[3:])
    assert np.array_equal(whole.correct, again.correct)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.isfinite(whole.loss_curve).all()


def test_crld_sees_strong_views_and_costs_two_forwards() -> None:
    """With no weight on anything but the cross-entropy, its strong term alone tells the curve from NKD's (weight 0)."""
    only_ce = {"kd_ce": 1.0, "kd_target": "base", "temperature": 1.0}
    strong, _ = train(loss="crld", crld_within=0.0, crld_cross=0.0, **only_ce)
    plain, _ = train(loss="lskd", lskd_weight=0.0, **only_ce)
    assert strong.loss_curve[0] > 1.5 * plain.loss_curve[0]


def test_strong_views_are_drawn_per_image_and_repeat_by_key() -> None:
    pixels = torch.from_numpy(images(12, 8, 1)).permute(0, 3, 1, 2).float()
    inputs = (pixels / 255 - 0.5) / 0.25
    one, same, other = (strong_views(inputs, GREY, 3, epoch, 0) for epoch in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    # A cutout always follows.
    assert not any(torch.equal(one[k], inputs[k]) for k in range(12))
    assert torch.equal(strong_views(inputs[:5], GREY, 3, 1, 0), one[:5])


def _pillow(name: str, image: Image.Image, v: float) -> Image.Image:
    """FixMatch's operations, which are Pillow's."""
    width, height = image.size
    affine = {
        "shear_x": (1, v, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, v, 1, 0),
        "translate_x": (1, 0, v * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, v * height),
    }
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name])
    if name in ("brightness", "color", "contrast", "sharpness"):
        return getattr(ImageEnhance, name.capitalize())(image).enhance(v)
    return {
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "identity": lambda: image,
        "posterize": lambda: ImageOps.posterize(image, int(v)),
        "rotate": lambda: image.rotate(v),
        "solarize": lambda: ImageOps.solarize(image, v),
    }[name]()


@pytest.mark.parametrize("name", TABLE)
def test_strong_operations_are_pillows_over_fixmatchs_ranges(name: str) -> None:
    """A shear about the centre, an enhancement above 1 or another direction gives other bytes."""
    operation, low, high = TABLE[name]
    colours = images(4, 32)
    for share in (0.0, 0.1, 0.37, 0.62, 0.999):
        v = low + (high - low) * share
        for pixels in colours:
            expected = np.array(_pillow(name, Image.fromarray(pixels), v)).astype(int)
            got = operation(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), v).permute(1, 2, 0).numpy()
            # Blends are cut off in one library and rounded in the other; contrast's mean is a whole number in Pillow.
            blended = name in ("brightness", "color", "contrast", "sharpness")
            far = np.abs(got - expected) > (1 if blended else 0)
            # Nearest pixels may differ where a place falls on the border of two.
            assert far.mean() <= (0.01 if name == "rotate" else 0), (v, far.mean())


@pytest.mark.parametrize(("share", "right", "down"), [(0.5, 0.5, 0.5), (0.31, 0.02, 0.97), (0.2, 0.99, 0.0)])
def test_a_cutout_is_the_rectangle_that_fixmatch_draws(share: float, right: float, down: float) -> None:
    (pixels,) = images(1, 32)
    expected, v = Image.fromarray(pixels), share * 32
    left, top = (int(max(0, at * 32 - v / 2.0)) for at in (right, down))
    ImageDraw.Draw(expected).rectangle((left, top, min(32, left + v), min(32, top + v)), (125, 123, 114))
    got = cutout(torch.from_numpy(pixels).permute(2, 0, 1), share, right, down)
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), np.array(expected))
    assert (cutout(torch.zeros(1, 8, 8, dtype=torch.uint8), 0.5, 0.5, 0.5) == 123).sum() == 25


def test_strong_views_are_two_operations_and_a_cutout_of_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operation 14 · .5 = 7, rotate, at -30 + 60 · .25 = -15 degrees, then 14 · .35 = 4, equalize; a cutout of .2."""
    draws = [0.5, 0.25, 0.35, 0.9, 0.4, 0.75, 0.25]
    monkeypatch.setattr(strong_views_module, "uniform", lambda count, *key: np.array(draws * (count // 7)))
    pixels = torch.from_numpy(images(2, 16, 1)).permute(0, 3, 1, 2)
    got = strong_views((pixels.float() / 255 - 0.5) / 0.25, GREY, 0, 0, 0)
    for row in range(2):
        expected = cutout(tv.equalize(tv.rotate(pixels[row], -15.0)), 0.2, 0.75, 0.25)
        assert torch.equal(((got[row] * 0.25 + 0.5) * 255).round().to(torch.uint8), expected)


def test_what_a_strong_view_is_counts_in_crlds_digest_alone() -> None:
    def stated(protocol: Protocol) -> Mapping[str, Any]:
        return training.plan(setting("digits"), "convnet3_w32_in", protocol, 0, {}, "").parameters

    assert "strong_views" not in stated(Protocol(views=VIEWS))
    assert stated(Protocol(views=VIEWS, loss="crld", label_storage="online"))["strong_views"] == "fixmatch"


def test_schedules_in_closed_form() -> None:
    stated = Protocol(views=VIEWS, epochs=12, zeta=2.0, schedule="cos2")
    cosine = 0.0005 * (1 + math.cos(math.pi * 10 / 24))
    assert learning_rate(stated, 10) == pytest.approx(cosine)
    # At 5/6 of the epochs the cosine; one epoch later its value times 1/12, where the cosine would have fallen by 12 %.
    assert learning_rate(stated, 11) == pytest.approx(cosine / 12)
    steps = Protocol(views=VIEWS, epochs=12, schedule="multistep", optimiser="sgd", learning_rate=0.01)
    assert [round(learning_rate(steps, epoch), 6) for epoch in (0, 7, 8, 9, 10, 11)] == [
        0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004
    ]  # fmt: skip


@pytest.mark.parametrize("epochs", [7, 300, 500, 1000, 1500, 2000, 3000])
def test_minimaxs_milestones_are_whole_epochs_below_their_shares(epochs: int) -> None:
    """`MultiStepLR(milestones=[2 * epochs // 3, 5 * epochs // 6])`, stepped after every epoch."""
    steps = {"schedule": "multistep", "optimiser": "sgd", "learning_rate": 0.01}
    protocol = Protocol(views=VIEWS, epochs=epochs, milestone_rule="down", **steps)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [2 * epochs // 3, 5 * epochs // 6], gamma=0.2)
    for epoch in range(epochs):
        assert learning_rate(protocol, epoch) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9), epoch
        optimiser.step()
        scheduler.step()


@pytest.mark.parametrize("share", [0.14, 0.55, 0.56])
def test_a_share_that_is_a_whole_number_of_epochs_is_that_epoch(share: float) -> None:
    steps = {"schedule": "multistep", "optimiser": "sgd", "milestones": (share,), "milestone_rule": "down"}
    protocol = Protocol(views=VIEWS, epochs=100, **steps)
    drops = [epoch for epoch in range(100) if learning_rate(protocol, epoch) < protocol.learning_rate]
    assert drops[0] == round(100 * share)


def test_the_average_moves_by_one_minus_its_decay_and_gives_the_live_weights_back() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    average = Average(model, 0.75)
    model.weight.data.fill_(3.0)
    average.update()
    with average.applied():
        assert model.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert model.weight.item() == 3.0
    assert Average(model, 0.0).tensors == {}


def test_stated_sizes_and_rates_are_carried_out_and_leave_no_mark() -> None:
    plain = Protocol(views=VIEW_PRESETS["rd3"])
    assert Protocol(views=VIEW_PRESETS["rd3"], batch_rule="stated", batch=50, zeta=1.0).for_student(
        True, 500
    ) == plain.for_student(True, 500)
    wide = Protocol(views=VIEW_PRESETS["rd3"], batch_rule="stated", batch=1024).for_student(False, 500)
    assert (wide.batch, wide.zeta) == (500, 2.0)
    slow = Protocol(views=VIEW_PRESETS["rd3"], zeta_rule="stated", zeta=1.5).for_student(False, 500)
    assert (slow.batch, slow.zeta) == (100, 1.5)
    rates = Protocol(views=VIEW_PRESETS["rd3"], rates="rded")
    assert rates.for_student(False, 500, "mobilenet_v2").learning_rate == STUDENT_RATES["mobilenet_v2"] == 0.0025
    assert rates.for_student(True, 500, "resnet18") == plain.for_student(True, 500)


def test_hard_labels_keep_nothing_of_a_distillation_loss() -> None:
    stated = Protocol(views=VIEWS, loss="crld", label_storage="online", kd_ce=2.0, crld_within=1.0)
    assert stated.for_labels("hard") == Protocol(views=VIEWS, label="hard")
    assert stated.by_one_teacher() == Protocol(views=VIEWS).for_labels("soft")
