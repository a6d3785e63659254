"""Student training: schedule, grouping, learning, resume, refusals."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.errors import InputError
from dd_assets.evaluation.accuracy import evaluate, prepare_test
from dd_assets.evaluation.labellers import Labeller
from dd_assets.evaluation.labels import compute_logits
from dd_assets.evaluation.losses import soft_kl
from dd_assets.evaluation.optimiser import learning_rate, student_optimiser, weight_groups
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.students import StudentScore, curve_sample, train_student
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.evaluation.views import epoch_geometry
from dd_assets.models import small_maps
from dd_assets.models.small_maps import windows
from tests.evaluation.helpers import GREY, PLAIN, convnet, normalised, reference_views, two_tone

RDED = VIEW_PRESETS["rded_factor"]
HARD = Protocol(views=RDED, label="hard", epochs=20, batch=8, window_step=2)
SOFT = Protocol(views=VIEW_PRESETS["rd3"], epochs=20, batch=8, window_step=2)


class Interrupted(Exception):
    """Stands for a kill."""


class Memory:
    """Checkpoints in memory; raises after `kill_after` saves."""

    def __init__(self, kill_after: int = 10**9) -> None:
        self.state: dict[str, np.ndarray] | None = None
        self.saves, self.kill_after = 0, kill_after

    def load(self) -> dict[str, np.ndarray] | None:
        return self.state

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = {name: np.array(value) for name, value in state.items()}
        self.saves += 1
        if self.saves == self.kill_after:
            raise Interrupted


def run(protocol: Protocol, model: nn.Module | None = None, **changes: Any) -> StudentScore:
    train = two_tone(20, seed=0)
    arguments: dict[str, Any] = {
        "images_u8": train.images,
        "labels": train.labels,
        "protocol": protocol,
        "view_seed": 5,
        "test": two_tone(60, seed=1),
        "normalisation": GREY,
    }
    if protocol.label == "soft" and protocol.label_storage == "stored":
        arguments["logits"] = soft_table(protocol, train)
    return train_student(convnet(1, 2) if model is None else model, **{**arguments, **changes})


def soft_table(protocol: Protocol, train: ImageArrays) -> np.ndarray:
    shape = {"batch": protocol.batch, "epochs": protocol.epochs, "seed": 5}
    return compute_logits(convnet(1, 2, seed=9), train.images, protocol.views, GREY, **shape)


def same(left: StudentScore, right: StudentScore) -> bool:
    curves = ("accuracy_curve", "loss_curve", "train_accuracy_curve", "correct")
    if left.early_epochs and right.early_epochs:
        curves = (*curves, "early_curve")
    return all(getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in curves)


@pytest.mark.parametrize(
    ("zeta", "expected"),
    [(1.0, (1.0, 0.5, 1.542e-5)), (2.0, (1.0, math.cos(math.pi / 8) ** 2, 0.50196))],
)
def test_learning_rate_at_start_middle_and_end(zeta: float, expected: tuple[float, ...]) -> None:
    """zeta 2 never falls below half; DD-Ranking's "cosine" is this one, its "cosineannealing" is zeta 1."""
    protocol = Protocol(views=RDED, epochs=400, zeta=zeta, learning_rate=1.0)
    assert [learning_rate(protocol, epoch) for epoch in (0, 200, 399)] == pytest.approx(expected, rel=1e-3)


def test_only_weights_of_more_than_one_dimension_decay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    model.register_parameter("class_token", nn.Parameter(torch.zeros(1, 1, 2)))
    decayed, rest = weight_groups(model, 0.01)
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.01, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    undecayed = {model[0].bias, model[1].weight, model[1].bias, model[2].bias, model.class_token}
    assert {id(p) for p in rest["params"]} == {id(p) for p in undecayed}


def test_adamw_settings() -> None:
    optimiser = student_optimiser(convnet(), Protocol(views=RDED))
    assert optimiser.defaults["betas"] == (0.9, 0.999)
    assert optimiser.defaults["eps"] == 1e-8
    assert {group["lr"] for group in optimiser.param_groups} == {1e-3}


def test_the_loop_equals_a_plain_one_step_by_step() -> None:
    """Two epochs of soft labels, re-stated with torchvision views, a plain AdamW and a per-batch teacher lookup."""
    protocol, train = replace(SOFT, epochs=2), two_tone(20, seed=0)
    table = torch.from_numpy(soft_table(protocol, train)).float()
    model, losses = convnet(1, 2).train(), []
    optimiser = torch.optim.AdamW(weight_groups(model, 0.01), lr=1e-3)
    for epoch in range(2):
        for group in optimiser.param_groups:
            group["lr"] = (1e-3, 5e-4)[epoch]
        schedule = epoch_geometry(protocol.views, 20, 8, 8, 5, epoch)
        views = normalised(reference_views(train.images, schedule), GREY)
        for start, stop in ((0, 8), (8, 16), (16, 20)):
            loss = soft_kl(model(views[start:stop]), table[epoch * 20 + start : epoch * 20 + stop], 20.0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item() * (stop - start))
    trained = convnet(1, 2)
    score = run(protocol, trained)
    assert score.loss_curve == pytest.approx([sum(losses[:3]) / 20, sum(losses[3:]) / 20], rel=1e-3)
    assert score.steps == 6
    for ours, plain in zip(trained.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.allclose(ours.float(), plain.float(), atol=1e-4)
    # One forward per step: a second one in train mode would count 12 batches and move the running statistics twice.
    assert trained[1].num_batches_tracked.item() == 6


def test_a_student_learns_a_separable_set() -> None:
    score = run(replace(HARD, epochs=60, learning_rate=0.01))
    assert score.last_accuracy > 0.9
    assert score.best_accuracy >= score.last_accuracy
    assert score.correct.mean() == score.last_accuracy == score.accuracy_curve[-1]
    assert score.train_accuracy_curve[-10:].mean() > 0.6
    assert score.steps == 180


@pytest.mark.parametrize("form", ["mixed", "base_only"])
def test_hard_labels_of_base_and_pasted_images(form: str) -> None:
    """With learning rate 0 an epoch's loss is that of the initial network on views rebuilt one by one."""
    train, network = two_tone(20, seed=0), convnet(1, 2).train()
    schedule = epoch_geometry(RDED, 20, 8, 8, 5, 0)
    views = normalised(reference_views(train.images, schedule), GREY)
    total = 0.0
    for batch, (start, stop) in enumerate(((0, 8), (8, 16), (16, 20))):
        log_p = network(views[start:stop]).log_softmax(dim=1)
        for row in range(start, stop):
            own, other = (int(schedule.image_id[r]) for r in (row, start + int(schedule.mix_slot[row])))
            lam = float(schedule.lam[batch]) if form == "mixed" else 1.0
            total -= lam * log_p[row - start, train.labels[own]].item()
            total -= (1 - lam) * log_p[row - start, train.labels[other]].item()
    score = run(replace(HARD, epochs=1, learning_rate=0.0, hard_form=form))
    assert score.loss_curve[0] == pytest.approx(total / 20, rel=1e-5)


def test_online_labels_agree_with_stored_ones() -> None:
    stored = run(SOFT)
    online = run(replace(SOFT, label_storage="online"), teacher=convnet(1, 2, seed=9).train())
    assert np.allclose(stored.loss_curve, online.loss_curve, rtol=0.02)


def test_mse_gt_takes_the_label_of_the_base_image_unmixed() -> None:
    """With learning rate 0 the epoch's loss is that of the first network on views rebuilt one by one.

    A cross-entropy mixed by lam would be off by the second figure.
    """
    protocol = replace(SOFT, loss="mse_gt", gamma=0.5, epochs=1, learning_rate=0.0, views=RDED)
    train, network = two_tone(20, seed=0), convnet(1, 2).train()
    table = torch.from_numpy(soft_table(protocol, train)).float()
    schedule = epoch_geometry(RDED, 20, 8, 8, 5, 0)
    views = normalised(reference_views(train.images, schedule), GREY)
    total = mixed_up = 0.0
    for batch, (start, stop) in enumerate(((0, 8), (8, 16), (16, 20))):
        logits = network(views[start:stop])
        total += (logits - table[start:stop]).square().mean(dim=1).sum().item()
        own = torch.from_numpy(train.labels[schedule.image_id[start:stop].astype(int)])
        rows = start + schedule.mix_slot[start:stop].astype(int)
        other = torch.from_numpy(train.labels[schedule.image_id[rows].astype(int)])
        on_own, on_other = (torch.nn.functional.cross_entropy(logits, t, reduction="sum").item() for t in (own, other))
        total += 0.5 * on_own
        mixed_up += 0.5 * (1 - float(schedule.lam[batch])) * (on_other - on_own)
    score = run(protocol)
    assert score.loss_curve[0] == pytest.approx(total / 20, rel=2e-3)
    assert abs(mixed_up) / 20 > 10 * abs(score.loss_curve[0] - total / 20)


@pytest.mark.parametrize("storage", ["stored", "online"])
def test_a_student_of_batch_specific_labels_trains_on_the_labellers_parts(storage: str) -> None:
    """One epoch restated: batches of 8, 8 and 4 in parts of 4; batch norm sees 4 views, gradients of a batch add up.

    Without parts the student's batch norm would see 8 views, and count 3 batches instead of 5.
    """
    labelling = {"label_batch_norm": "batch", "label_micro_batch": 4, "label_storage": storage}
    protocol, train = replace(SOFT, epochs=1, **labelling), two_tone(20, seed=0)
    labeller = Labeller(members=(convnet(1, 2, seed=9),), labelling=protocol.labelling)
    shape = {"batch": 8, "epochs": 1, "seed": 5}
    stored = compute_logits(labeller, train.images, protocol.views, GREY, **shape)
    views = normalised(reference_views(train.images, epoch_geometry(protocol.views, 20, 8, 8, 5, 0)), GREY)
    model = convnet(1, 2).train()
    optimiser = torch.optim.AdamW(weight_groups(model, 0.01), lr=1e-3)
    for batch in (range(0, 8), range(8, 16), range(16, 20)):
        optimiser.zero_grad()
        for start in range(batch.start, batch.stop, 4):
            with torch.no_grad():
                target = convnet(1, 2, seed=9).train()(views[start : start + 4])
            assert np.abs(target.numpy() - stored[start : start + 4]).max() < 2e-2
            (soft_kl(model(views[start : start + 4]), target, 20.0) * 4 / len(batch)).backward()
        optimiser.step()
    trained = convnet(1, 2)
    given = {"teacher": labeller} if storage == "online" else {"logits": stored}
    assert run(protocol, trained, **given).steps == 3
    assert trained[1].num_batches_tracked.item() == 5
    for ours, plain in zip(trained.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.allclose(ours.float(), plain.float(), atol=2e-4)


def test_sample_weights_count_relative_to_their_mean() -> None:
    """Loss of the first network: half the images count 3, half 1, so 3/2 and 1/2 of their plain losses."""
    protocol = replace(HARD, views=PLAIN, epochs=1, learning_rate=0.0, batch=20)
    train, network = two_tone(20, seed=0), convnet(1, 2).train()
    schedule = epoch_geometry(PLAIN, 20, 8, 20, 5, 0)
    logits = network(normalised(reference_views(train.images, schedule), GREY))
    order = schedule.image_id.astype(int)
    losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(train.labels[order]), reduction="none")
    weights = np.where(np.arange(20) < 10, 3, 1)
    expected = (losses.detach().numpy() * np.where(order < 10, 1.5, 0.5)).mean()
    assert run(protocol, weights=weights).loss_curve[0] == pytest.approx(expected, rel=1e-5)
    assert run(protocol, weights=weights * 7.5).loss_curve[0] == pytest.approx(expected, rel=1e-5)
    assert run(protocol).loss_curve[0] != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("weights", [np.zeros(20), -np.ones(20), np.ones(19), np.full(20, np.nan)])
def test_weights_that_cannot_work_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(InputError, match="sample weights"):
        run(HARD, weights=weights)


def test_evaluation_window() -> None:
    """400 epochs: 329, 339, …, 399 as in RDED; here 20 epochs, every second of the last fifth."""
    assert Protocol(views=RDED).evaluated_epochs() == [329, 339, 349, 359, 369, 379, 389, 399]
    score = run(HARD)
    assert score.evaluated_epochs == [17, 19]
    assert len(score.accuracy_curve) == 2
    assert np.isfinite(score.accuracy_curve).all()
    assert run(replace(HARD, epochs=3)).evaluated_epochs == [2]


def test_a_curve_before_the_window_changes_nothing_else() -> None:
    plain, everywhere = run(HARD), run(replace(HARD, window=1.0, window_step=5))
    assert everywhere.evaluated_epochs == [4, 9, 14, 19]
    whole, some = (run(replace(HARD, curve_step=5, curve_images=count)) for count in (1000, 15))
    assert whole.early_epochs == some.early_epochs == [4, 9, 14]
    assert whole.early_curve.tolist() == everywhere.accuracy_curve[:3].tolist()
    # A sample of fifteen: fifteenths.
    assert np.allclose(some.early_curve * 15, np.round(some.early_curve * 15))
    assert same(whole, plain)
    assert same(some, plain)
    assert plain.early_epochs == []


def test_the_sample_of_a_curve_is_fixed_and_of_different_images() -> None:
    rows = curve_sample(10_000, 2000)
    assert len(set(rows.tolist())) == 2000
    assert rows.tolist() == curve_sample(10_000, 2000).tolist() == sorted(rows.tolist())
    assert curve_sample(60, 2000).tolist() == list(range(60))


class Twice(nn.Module):
    """RDED's loop: a batch runs through the student once more in train mode, for a printed accuracy."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.network(inputs)
        return self.network(inputs)


def test_batch_norm_that_is_updated_twice_equals_a_second_forward() -> None:
    network, again = convnet(1, 2), convnet(1, 2)
    expected = run(HARD, Twice(network))
    score = run(replace(HARD, batch_norm_updates=2), again)
    once = convnet(1, 2)
    run(HARD, once)
    for name in ("1.running_mean", "1.running_var"):
        theirs, ours = network.state_dict()[name], again.state_dict()[name]
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6), name
        assert not torch.allclose(once.state_dict()[name], theirs, rtol=1e-4, atol=1e-6), name
    # Training itself does not read the running statistics.
    assert score.loss_curve.tobytes() == expected.loss_curve.tobytes()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"batch_norm_updates": 0}, "once or more"),
        ({"curve_step": -1, "curve_images": 10}, "neither number"),
        ({"curve_step": 5}, "a curve has both"),
        ({"curve_images": 5}, "a curve has both"),
    ],
)
def test_looks_that_cannot_be_are_refused(changes: dict[str, int], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Protocol(views=RDED, **changes)


@pytest.mark.parametrize("kills", [(1,), (5,), (9,), (1, 3)])
@pytest.mark.parametrize(
    "protocol", [HARD, SOFT, replace(HARD, curve_step=3, curve_images=15)], ids=["hard", "soft", "curve"]
)
def test_a_resumed_training_ends_with_the_same_bits(protocol: Protocol, kills: tuple[int, ...]) -> None:
    """The student has dropout, so its random layers must resume too."""
    straight = convnet(1, 2, dropout=0.3)
    expected = run(protocol, straight)
    checkpoints = Memory()
    for kill in kills:
        checkpoints.kill_after = kill
        with pytest.raises(Interrupted):
            run(protocol, convnet(1, 2, dropout=0.3), checkpoints=checkpoints)
    model = convnet(1, 2, seed=77, dropout=0.3)  # other weights: everything must come from the checkpoint
    checkpoints.kill_after = 10**9
    assert same(run(protocol, model, checkpoints=checkpoints), expected)
    assert checkpoints.saves == 9
    for ours, theirs in zip(model.state_dict().values(), straight.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_runs_repeat_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = run(HARD, convnet(1, 2, dropout=0.3))
    assert torch.equal(torch.rand(1), expected)
    assert same(first, run(HARD, convnet(1, 2, dropout=0.3)))
    assert not same(first, run(HARD, convnet(1, 2, dropout=0.3), view_seed=6))


@pytest.mark.parametrize("protocol", [HARD, SOFT], ids=["hard", "soft"])
def test_rendering_batch_by_batch_gives_the_same_bits(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch is then a span of its own, which must also find its own rows of the label table."""
    logits = soft_table(SOFT, two_tone(20, seed=0))
    together = run(protocol, logits=logits)
    monkeypatch.setattr("dd_assets.evaluation.students.SPAN_PIXELS", 64)
    monkeypatch.setattr("dd_assets.evaluation.views.SPAN_PIXELS", 64)
    assert same(run(protocol, logits=logits), together)


@pytest.mark.parametrize("precision", ["bf16", "bf16_products"])
def test_bf16_keeps_float32_weights_and_stays_close(precision: Literal["bf16", "bf16_products"]) -> None:
    model = convnet(1, 2)
    score = run(replace(SOFT, precision=precision), model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    full = run(SOFT)
    assert not np.array_equal(score.loss_curve, full.loss_curve)
    assert np.allclose(score.loss_curve, full.loss_curve, rtol=0.2)


def test_products_are_taken_by_student_labeller_and_test_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what another precision then does with the same networks is what it did before."""
    seen: list[tuple[int, ...]] = []

    def noted(maps: Tensor, stride: int) -> Tensor:
        seen.append(tuple(maps.shape))
        return windows(maps, stride)

    monkeypatch.setattr(small_maps, "windows", noted)
    monkeypatch.setattr(small_maps, "LARGEST", 8)
    half = replace(SOFT, label_storage="online", precision="bf16", epochs=2, batch=20)
    teacher = convnet(1, 2, seed=3)
    before = run(half, teacher=teacher, logits=None)
    assert seen == []
    run(replace(half, precision="bf16_products"), teacher=teacher, logits=None)
    views, channels = (20, 1, 8, 8), (20, 8, 8, 8)
    # Two epochs of the labeller's forward and the student's, whose backward needs the second layer's windows of its
    # gradient and of its input, the first layer's of its input alone; then the test images.
    step = [views, channels, views, channels, channels, channels, views]
    assert seen[:14] == step * 2
    assert len(seen) > 14
    seen.clear()
    assert same(run(half, teacher=teacher, logits=None), before)
    assert seen == []


def test_progress_reports_without_changing_anything() -> None:
    seen: list[tuple[int, int]] = []
    score = run(HARD, progress=lambda step, total, **figures: seen.append((step, total, figures["loss"])))
    assert seen[-1] == pytest.approx((20, 20, score.loss_curve[-1]))
    assert len(seen) == 20


def test_test_images_are_enlarged_only_where_the_rule_enlarges() -> None:
    """64 px: to 72, then the middle 64, so the outer 4 px of the enlarged image go; 8 and 32 px stay as they are."""
    for size in (8, 28, 32, 48):
        pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        assert np.array_equal(prepare_test(pixels).numpy(), pixels)
    ramp = np.broadcast_to((np.arange(64) * 2)[None, None, :, None], (1, 64, 64, 3)).astype(np.uint8)
    got = prepare_test(ramp).numpy()[0, 30, :, 0].astype(float)
    # Output column x shows enlarged column x + 4, whose centre lies at source (x + 4.5) 64 / 72 - .5.
    expected = 2 * ((np.arange(64) + 4.5) * 64 / 72 - 0.5)
    assert np.abs(got - expected).max() <= 0.51


def test_evaluate_counts_hits_in_eval_mode() -> None:
    class Threshold(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            assert not self.training
            mean = inputs.mean(dim=(1, 2, 3))
            return torch.stack([-mean, mean], dim=1)

    pixels = torch.tensor([0, 255, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 8, 8, 1).contiguous()
    assert evaluate(Threshold().train(), pixels, torch.tensor([0, 1, 0]), GREY).tolist() == [True, True, False]


def test_a_batch_of_one_is_refused_only_where_batch_norm_fails() -> None:
    """21 images in batches of 5 leave one: fine for maps of 8 x 8, not for batch norm on a flat vector."""
    train = two_tone(21, seed=0)
    inputs = {"images_u8": train.images, "labels": train.labels}
    protocol = replace(HARD, batch=5, epochs=1)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before = copy.deepcopy(flat.state_dict())
    with pytest.raises(InputError, match="batch of one view"):
        run(protocol, flat, **inputs)
    assert all(torch.equal(flat.state_dict()[name], value) for name, value in before.items())
    assert run(protocol, **inputs).steps == 5
    assert run(replace(protocol, batch=7), flat, **inputs).steps == 3


def test_a_batch_larger_than_the_set_is_the_whole_set() -> None:
    assert run(replace(HARD, batch=50)).steps == 20


@pytest.mark.parametrize(
    ("protocol", "changes", "match"),
    [
        (SOFT, {"logits": None}, "400 rows expected"),
        (SOFT, {"logits": np.zeros((399, 2), dtype=np.float16)}, "400 rows expected"),
        (SOFT, {"logits": np.zeros((400, 3), dtype=np.float16)}, "same classes"),
        (replace(SOFT, label_storage="online"), {}, "need the teacher"),
        (HARD, {"labels": np.zeros(3, dtype=np.int64)}, "labels of shape"),
        (HARD, {"test": ImageArrays(np.zeros((2, 9, 9, 1), np.uint8), np.zeros(2, np.int64))}, "do not match"),
        (HARD, {"images_u8": np.zeros((20, 8, 8, 1), np.float32)}, "uint8"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(protocol: Protocol, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        run(protocol, **changes)


def test_labelled_epochs_come_back_with_their_own_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of one epoch on views of another would be noise: every target is the teacher's answer to its input."""
    from dd_assets.evaluation import students

    protocol = replace(SOFT, epochs=7, label_epochs=3)
    train, teacher, off = two_tone(20, seed=0), convnet(1, 2, seed=9).eval(), []
    shape = {"batch": protocol.batch, "epochs": 3, "seed": 5}
    table = compute_logits(teacher, train.images, protocol.views, GREY, **shape)
    whole = students._Run.step

    def checked(own: Any, inputs: torch.Tensor, target: torch.Tensor, *rest: Any) -> None:
        with torch.no_grad():
            off.append(float((teacher(inputs) - target).abs().max()))
        whole(own, inputs, target, *rest)

    monkeypatch.setattr(students._Run, "step", checked)
    run(protocol, logits=table)
    assert len(off) == 7 * 3
    assert max(off) < 0.01
    with pytest.raises(InputError, match="60 rows expected"):
        run(protocol, logits=np.concatenate([table, table]))


def test_resuming_in_a_later_pass_gives_the_same_bits() -> None:
    protocol = replace(SOFT, label_epochs=3)
    table = soft_table(replace(protocol, epochs=3), two_tone(20, seed=0))
    memory = Memory(kill_after=4)
    with pytest.raises(Interrupted):
        run(protocol, logits=table, checkpoints=memory)
    assert same(run(protocol, logits=table, checkpoints=memory), run(protocol, logits=table))
