"""Protocol presets: each can be applied everywhere, and says what the paper says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.labellers import micro_batches
from dd_assets.evaluation.optimiser import learning_rate
from dd_assets.evaluation.paper_presets import TEN_CLASSES
from dd_assets.evaluation.preset import changed
from dd_assets.evaluation.presets import PRESETS, apply
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.field_notes import field_notes
from dd_assets.planning import studies as planning
from dd_assets.planning.cells import Cell
from dd_assets.planning.digests import plain, text_digest
from dd_assets.report import studies as study_report
from dd_assets.studies.registry import study

RD3 = Protocol(views=VIEW_PRESETS["rd3"])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_protocol_for_every_dataset_and_ipc(name: str) -> None:
    for data in ("imagenet1k", "cifar10", "digits", "mine"):
        for ipc in (1, 10, 50, 100):
            made = apply(RD3, name, data, ipc).for_student(False, 10**6, "resnet18")
            assert made.name == name
            assert apply(made, "rd3", data, ipc).name == name
    assert PRESETS[name].source


def test_rd3_changes_nothing_and_so_no_digest() -> None:
    for entry in CATALOGUE.values():
        assert apply(entry.protocol, "rd3", entry.data, 10) == entry.protocol
    # Pinned: what a protocol at its defaults states, whatever fields it gains.
    assert sorted(plain(RD3)) == sorted(
        [
            "name", "label", "label_storage", "views", "epochs", "batch", "zeta", "learning_rate", "weight_decay",
            "temperature", "hard_form", "precision", "window", "window_step",
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "ipc", "expected"),
    [
        ("paper:sre2l", "imagenet1k", 10, (1024, 1.0, 300, 20.0, "kl", 0.08)),
        ("paper:sre2l", "cifar10", 10, (128, 1.0, 400, 30.0, "kl", 1.0)),
        ("paper:cda", "imagenet1k", 10, (128, 1.0, 300, 20.0, "kl", 0.08)),
        ("paper:gvbsm", "imagenet1k", 50, (1024, 1.0, 300, 20.0, "mse_gt", 0.08)),
        ("paper:edc", "imagenet1k", 10, (100, 2.0, 300, 20.0, "mse_gt", 0.5)),
        ("paper:rded", "imagenet1k", 1, (20, 2.0, 300, 20.0, "kl", 0.5)),
        ("paper:rded", "imagenet1k", 50, (200, 2.0, 300, 20.0, "kl", 0.5)),
        ("paper:cvdd", "imagenet1k", 50, (16, 1.0, 300, 20.0, "kl", 0.08)),
        ("paper:cvdd", "tiny_imagenet", 50, (16, 2.0, 300, 20.0, "kl", 0.08)),
    ],
)
def test_papers_recipes_as_rd3s_table_10_and_their_scripts_have_them(
    name: str, data: str, ipc: int, expected: tuple[object, ...]
) -> None:
    made = apply(RD3, name, data, ipc).for_student(False, 10**6)
    assert (made.batch, made.zeta, made.epochs, made.temperature, made.loss, made.views.crop_scale_min) == expected


def own(method: str, data: str, ipc: int) -> Protocol:
    """A paper's recipe as a student of another architecture than the teacher's trains under it."""
    images = ipc * len(CATALOGUE[data].classes)
    return apply(RD3, f"paper:{method}", data, ipc).for_student(False, images, "resnet18")


@pytest.mark.parametrize(
    ("name", "data", "ipc", "digest"),
    [
        ("paper:sre2l", "imagenet1k", 10, "3e59a7c7d057"),
        ("paper:sre2lpp", "imagenet1k", 50, "247f1777f29b"),
        ("paper:cda", "imagenet1k", 10, "8ed2dfd1bc8d"),
        ("paper:dwa", "imagenet1k", 10, "b53dd8ca0224"),
        ("paper:d4m", "imagenet1k", 10, "ccd8dea94232"),
        ("paper:gvbsm", "imagenet1k", 10, "2c29b051dc89"),
        ("paper:edc", "imagenet1k", 10, "333d106e13d3"),
        ("paper:rded", "imagenet1k", 10, "ade9189aef9d"),
        ("paper:rded", "cifar100", 50, "abd610b6d6cf"),
        ("paper:delt", "imagenet1k", 50, "97d20c057fdb"),
        ("paper:cvdd", "imagenet1k", 50, "60781e7ea879"),
        ("paper:cvdd", "tiny_imagenet", 50, "643324fefbc9"),
        ("paper:pca", "imagenet1k", 10, "9c961bd2c017"),
    ],
)
def test_recipes_that_were_right_keep_their_digests(name: str, data: str, ipc: int, digest: str) -> None:
    """Pinned before presets stated label modes and tables by dataset and IPC."""
    made = apply(RD3, name, data, ipc).for_student(True, 10**6, "resnet18").for_labels("soft", ("resnet18",))
    assert text_digest(plain(made)).startswith(digest)


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].whole])
@pytest.mark.parametrize("data", ["imagenet1k", "cifar10", "imagenette"])
def test_a_recipe_of_somebodys_own_takes_nothing_of_how_a_setting_trains(name: str, data: str) -> None:
    """A setting chooses what it looks at and computes with; temperature, labeller, loop and views are the recipe's."""
    views = replace(VIEW_PRESETS["rded_factor"], cutmix_alpha=2.0)
    training = {"batch_norm_updates": 2, "labeller": "committee", "temperature": 7.0, "weight_decay": 0.3, "epochs": 9}
    looking = {"precision": "bf16", "window_step": 20, "curve_step": 80, "curve_images": 2000}
    other = replace(RD3, name="mine", views=views, **training, **looking)
    assert apply(other, name, data, 10) == replace(apply(RD3, name, data, 10), **looking)


def test_what_belongs_to_the_setting_under_a_loss_of_another_paper_stays() -> None:
    """RD3's Table 18 changes the loss alone."""
    assert not any(entry.whole for entry in PRESETS.values() if entry.name.startswith(("kd", "rd")))
    assert all(entry.whole for entry in PRESETS.values() if entry.name.startswith("paper:"))
    made = apply(replace(RD3, batch_norm_updates=2), "kd:dkd", "cifar10", 10)
    assert (made.loss, made.batch_norm_updates) == ("dkd", 2)


def test_delt_has_rdeds_second_forward() -> None:
    """DELT:evaluation/validation/main.py runs each batch through the student once more in train mode, as RDED does."""
    assert [apply(RD3, f"paper:{name}", "cifar10", 10).batch_norm_updates for name in ("rded", "delt")] == [2, 2]


def test_a_whole_number_for_a_float_is_the_same_value() -> None:
    one, other = (changed(RD3, {"temperature": t, "views": {"cutmix_alpha": a}}) for t, a in ((4, 0), (4.0, 0.0)))
    assert text_digest(plain(one)) == text_digest(plain(other))
    assert type(changed(RD3, {"epochs": 4}).epochs) is int


def test_what_a_label_mode_does_not_read_is_no_part_of_its_recipe() -> None:
    warm, other = replace(RD3, temperature=30.0), replace(RD3, hard_form="mixed")
    assert warm.for_labels("hard") == RD3.for_labels("hard") != other.for_labels("hard")
    assert other.for_labels("soft") == RD3.for_labels("soft") != warm.for_labels("soft")


def test_hard_labels_are_the_base_images_but_for_digits() -> None:
    """The reading of RD3 that fits its random images best; tables of digits were computed with both images' labels."""
    forms = {name: entry.protocol.for_labels("hard").hard_form for name, entry in CATALOGUE.items()}
    assert {name for name, form in forms.items() if form == "mixed"} == {"digits", "mnist"}
    assert forms["cifar10"] == "base_only"
    # Soft recipes state the form that was the default when the first of them were stored.
    soft = {entry.protocol.for_labels("soft").hard_form for entry in CATALOGUE.values()}
    assert soft | {RD3.by_one_teacher().hard_form} == {"mixed"}
    assert {apply(RD3, name, "imagenette", 10).hard_form for name in ("paper:minimax", "igd_hard")} == {"mixed"}


@pytest.mark.parametrize("name", ["paper:minimax", "dc_bench"])
def test_hard_label_protocols_say_so(name: str) -> None:
    """MinimaxDiffusion's train.py: hard labels, SGD .01."""
    made = apply(RD3, name, "imagenette", 10)
    assert (made.label, made.optimiser, made.learning_rate) == ("hard", "sgd", 0.01)


def test_igds_hard_labels_are_minimaxs_with_adamw() -> None:
    """DD_IGD's train.py: AdamW 1e-3, decay .01; crops from half the area, as Minimax's data.py at its default size."""
    igd, minimax = (apply(RD3, name, "imagenette", 10) for name in ("igd_hard", "paper:minimax"))
    assert (igd.label, igd.optimiser, igd.learning_rate, igd.weight_decay) == ("hard", "adamw", 1e-3, 0.01)
    assert igd.views == minimax.views
    assert (igd.views.crop_scale_min, igd.views.shuffle_factor, igd.views.jitter) == (0.5, 1, 0.4)
    assert (igd.schedule, igd.epochs, igd.batch) == (minimax.schedule, minimax.epochs, minimax.batch)


def test_values_that_were_read_in_the_scripts_later() -> None:
    """PRISM's train_FKD_10_r18.sh, G-VBSM's and EDC's train.sh, cls_KD's res34_distill_res18_cifar.py."""
    assert own("prism", "imagenet1k", 10).batch == 50
    assert own("gvbsm", "cifar10", 10).weight_decay == 0.0
    for made in (own("gvbsm", "cifar100", 10), own("edc", "cifar100", 10), own("edc", "tiny_imagenet", 10)):
        assert (made.optimiser, made.learning_rate, made.weight_decay) == ("sgd", 0.1, 5e-4)
    nkd = [apply(RD3, "kd:nkd", data, 10) for data in ("cifar100", "imagenet1k")]
    assert [(made.temperature, made.nkd_gamma) for made in nkd] == [(3.0, 3.5), (1.0, 1.5)]


def test_minimax_has_hard_labels_on_its_subsets_and_rdeds_protocol_on_imagenet1k() -> None:
    """Its published ImageNet-1K figures have soft labels; a preset's label goes before that of a study's variant."""
    (found,) = [
        cell
        for cell in study("rd3_table_2").cells(CATALOGUE["imagenet1k"], 10)
        if (cell.method, cell.variant.name) == ("minimax", "own recipe")
    ]
    woof, whole = (Cell(setting=CATALOGUE[name], ipc=10) for name in ("imagewoof", "imagenet1k"))
    hard, soft = planning._protocol(woof, found), planning._protocol(whole, found)
    assert (hard.label, hard.optimiser, hard.epochs, hard.batch) == ("hard", "sgd", 2000, 64)
    assert (hard.batch_norm_updates, hard.schedule, hard.milestones) == (1, "multistep", (2 / 3, 5 / 6))
    assert hard.milestone_rule == "down"
    assert (soft.label, soft.optimiser, soft.epochs, soft.batch) == ("soft", "adamw", 300, 100)
    assert planning._read_for_labels(woof, [found]) == set()
    assert planning._read_for_labels(whole, [found]) == {"teacher"}
    assert [study_report._label_of(cell.setting, found) for cell in (woof, whole)] == ["hard", "soft"]
    made, rded = (apply(whole.setting.protocol, f"paper:{name}", "imagenet1k", 10) for name in ("minimax", "rded"))
    assert replace(made, name="") == replace(rded, name="")


@pytest.mark.parametrize("method", ["cvdd", "sre2lpp"])
@pytest.mark.parametrize(
    ("data", "ipc", "zeta", "rate", "batch", "parts"),
    [
        ("cifar10", 1, 1.0, 1e-3, 10, [5, 5]),
        ("cifar10", 10, 1.0, 1e-3, 16, [8, 8]),
        ("cifar10", 50, 1.0, 1e-3, 16, [8, 8]),
        ("cifar100", 1, 1.0, 1e-3, 16, [8, 8]),
        ("cifar100", 10, 2.0, 1e-3, 16, [8, 8]),
        ("cifar100", 50, 1.0, 1e-3, 16, [8, 8]),
        ("tiny_imagenet", 1, 2.0, 1e-3, 16, [8, 8]),
        ("tiny_imagenet", 10, 1.0, 1e-3, 16, [8, 8]),
        ("tiny_imagenet", 50, 2.0, 1e-3, 16, [8, 8]),
        ("imagenette", 1, 2.0, 5e-4, 10, [5, 5]),
        ("imagenette", 10, 1.0, 5e-4, 10, [5, 5]),
        ("imagenette", 50, 2.0, 5e-4, 10, [5, 5]),
        ("imagenet1k", 1, 2.0, 1e-3, 16, [8, 8]),
        ("imagenet1k", 10, 2.0, 1e-3, 16, [8, 8]),
        ("imagenet1k", 50, 1.0, 1e-3, 16, [8, 8]),
    ],
)
def test_cvdds_table_of_eta_rate_and_batch_for_resnet18(
    method: str, data: str, ipc: int, zeta: float, rate: float, batch: int, parts: list[int]
) -> None:
    """CV-DD:validate/train_fkd.py (eta, adamw_lr) and relabel/scripts (-b); every batch in two halves."""
    made = own(method, data, ipc)
    assert (made.zeta, made.learning_rate, made.batch) == (zeta, rate, batch)
    assert micro_batches(made.batch, made.label_micro_batch) == parts


def test_edcs_steps_on_cifar10_and_its_long_training_at_one_image_of_tiny_imagenet() -> None:
    """EDC:Branch_CIFAR_10/train: MultiStepLR [800, 900, 950], .5; batch 10 at IPC 1. Branch_Tiny_ImageNet/train2.sh."""
    made = own("edc", "cifar10", 10)
    rates = [learning_rate(made, epoch) for epoch in (0, 799, 800, 899, 900, 949, 950, 999)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4, 1.25e-4])
    assert (made.epochs, made.batch, own("edc", "cifar10", 1).batch) == (1000, 25, 10)
    assert [own("edc", "tiny_imagenet", ipc).epochs for ipc in (1, 10, 50)] == [1000, 300, 300]


@pytest.mark.parametrize(
    ("data", "batches"),
    [
        *((data, (10, 50, 100)) for data in TEN_CLASSES),
        ("cifar100", (20, 100, 200)),
        ("imagenet1k", (20, 100, 200)),
        ("tiny_imagenet", (100, 100, 100)),
    ],
)
@pytest.mark.parametrize("method", ["rded", "delt"])
def test_rdeds_batches_follow_the_number_of_classes(method: str, data: str, batches: tuple[int, ...]) -> None:
    """RDED:argument.py at IPC 1, 10 and 50: 10, 50, 100, twice that for 100 and 1,000 classes, Tiny-ImageNet 100."""
    assert tuple(own(method, data, ipc).batch for ipc in (1, 10, 50)) == batches


def test_the_datasets_of_ten_classes_are_the_catalogues() -> None:
    assert {entry.data for entry in CATALOGUE.values() if len(entry.classes) == 10} == set(TEN_CLASSES)
    # Between RDED's IPC values its fork has some of its own (DELT:evaluation/argument.py).
    assert [own("delt", "cifar10", ipc).batch for ipc in (20, 30, 100)] == [50, 100, 100]


@pytest.mark.parametrize("method", ["sre2l", "dwa"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_teachers_in_train_mode_label_by_the_statistics_of_whole_batches(method: str, data: str) -> None:
    """SRe2L:*small_dataset/relabel_cifar.py and DWA:validation_cifar.py never call the teacher's eval()."""
    made = own(method, data, 10)
    assert (made.label_batch_norm, made.label_micro_batch, made.label_dropout) == ("batch", 0, False)
    assert (
        own(method, "imagenet1k", 10).label_batch_norm == own(method, "tiny_imagenet", 10).label_batch_norm == "running"
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("sre2l", {"epochs": 100, "batch": 256, "learning_rate": 80.0, "weight_decay": 2.5e-7, "loss": "kl"}),
        ("cda", {"epochs": 100, "batch": 256, "learning_rate": 80.0, "weight_decay": 2.5e-7, "loss": "kl"}),
        ("dwa", {"epochs": 200, "batch": 64, "learning_rate": 0.2, "weight_decay": 1e-4, "temperature": 1.0}),
        (
            "gvbsm",
            {
                "epochs": 100,
                "batch": 100,
                "learning_rate": 0.1,
                "weight_decay": 5e-4,
                "loss": "mse_gt",
                "gamma": 0.1,
                "label_mix": "mean",
            },
        ),
    ],
)
def test_tiny_imagenets_own_recipes_are_sgds(method: str, expected: dict[str, Any]) -> None:
    """tiny-imagenet:script/train_kd.sh, DWA:scripts/run_tiny.sh (.2, 1e-4 on T^2 KL), G-VBSM:train.sh; T 20 (DWA 1)."""
    made = own(method, "tiny_imagenet", 10)
    expected = {"temperature": 20.0, **expected, "optimiser": "sgd", "momentum": 0.9, "zeta": 1.0, "schedule": "cosine"}
    assert {name: getattr(made, name) for name in expected} == expected
    views = made.views
    assert (views.crop_scale_min, views.shuffle_factor, views.mixup_alpha) == (0.08, 1, 0.0)
    assert views.cutmix_alpha == (0 if method == "sre2l" else 1)


def test_sgd_on_a_squared_temperature_is_sgd_at_that_multiple_of_the_rate() -> None:
    """L = .5 w^2 with T = 20: 400 L at .2 and 1e-4 moves w as L does at 80 and 2.5e-7; a decay left alone would not."""

    def walked(rate: float, decay: float, scale: float) -> float:
        weight = torch.tensor([1e-3], dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.SGD([weight], lr=rate, momentum=0.9, weight_decay=decay)
        for _ in range(3):
            optimiser.zero_grad()
            (scale * 0.5 * weight**2).sum().backward()
            optimiser.step()
        return float(weight)

    assert walked(80.0, 2.5e-7, 1.0) == pytest.approx(walked(0.2, 1e-4, 400.0), rel=1e-9)
    assert walked(80.0, 1e-4, 1.0) != pytest.approx(walked(0.2, 1e-4, 400.0), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("paper:")])
def test_what_stands_in_for_a_recipe_that_a_paper_does_not_state_is_named(name: str) -> None:
    entry = PRESETS[name]
    assert entry.datasets[0] == "imagenet1k"
    assert set(entry.datasets) <= {setting.data for setting in CATALOGUE.values()}
    for data in ("mine", "digits", *entry.datasets):
        note = f"no recipe stated for {data}: {entry.datasets[0]}'s"
        assert (note in entry.left_out_on(data)) == (data not in entry.datasets)
        assert entry.left_out in entry.left_out_on(data)


def test_protocols_that_are_no_papers_stand_in_for_nothing() -> None:
    assert PRESETS["rd3"].left_out_on("mine") == ""
    assert PRESETS["paper:cda"].left_out_on("cifar10").endswith("no recipe stated for cifar10: imagenet1k's")


def test_the_hard_label_protocol_trains_longer_on_fewer_images() -> None:
    epochs = [apply(RD3, "igd_hard", "imagenette", ipc).epochs for ipc in (1, 10, 50, 100)]
    assert epochs == [3000, 2000, 1500, 1000]
    made = apply(RD3, "igd_hard", "imagenette", 10).for_student(True, 100).for_labels("hard")
    assert (made.optimiser, made.learning_rate, made.batch, made.views.cutmix_alpha) == ("adamw", 1e-3, 64, 1.0)


def test_mirrors_stay_out_of_settings_whose_classes_they_change_and_equal_views_share_a_name() -> None:
    still = replace(RD3, views=replace(RD3.views, hflip=0.0))
    assert changed(still, {"views": {"hflip": 0.5}}).views == still.views
    assert changed(RD3, {"views": {"hflip": 0.0}}).views.preset == "rd3"
    assert changed(RD3, {"views": {"shuffle_factor": 1, "crop_scale_min": 1.0}}).views.preset == "rded_factor"
    assert changed(RD3, {"views": {"cutmix_alpha": 0}}).views.preset == "own"


def test_typos_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'paper:sre2l'"):
        apply(RD3, "paper:sre2", "digits", 1)
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        changed(RD3, {"temperatur": 3.0})
    with pytest.raises(UnknownNameError, match="field of the views"):
        changed(RD3, {"views": {"crop": 3.0}})


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"epochs": 400.5},
        {"epochs": True},
        {"batch": 50.0, "batch_rule": "stated"},
        {"window_step": 2.5},
        {"label_epochs": 2.5},
        {"label_top_k": True},
        {"label_micro_batch": 8.0, "label_batch_norm": "batch"},
        {"batch_norm_updates": 1.5},
        {"curve_step": 1.5, "curve_images": 10},
        {"batch": 0, "batch_rule": "stated"},
        {"batch": -5},
        {"window_step": 0},
        {"window": 0.0},
        {"window": 1.1},
        {"zeta": 0.0},
        {"learning_rate": -1e-3},
        {"learning_rate": float("inf")},
        {"learning_rate": float("nan")},
        {"weight_decay": -0.01},
        {"temperature": 0.0},
        {"temperature": float("inf")},
        {"momentum": 1.0, "optimiser": "sgd"},
        {"ema": 1.0},
        {"decay": 0.0, "schedule": "multistep"},
        {"milestones": (0.5, 0.2), "schedule": "multistep"},
        {"milestones": (0.5, 1.5), "schedule": "multistep"},
        {"milestones": ("half",), "schedule": "multistep"},
        {"gamma": -1.0, "loss": "mse_gt"},
        {"kd_ce": float("nan"), "loss": "dkd"},
        {"crld_weak_confidence": 1.5, "loss": "crld", "label_storage": "online"},
    ],
)
def test_numbers_that_cannot_be_are_refused_by_field_and_value(changes: dict[str, Any]) -> None:
    name, value = next(iter(changes.items()))
    shown = list(value) if isinstance(value, tuple) else value
    with pytest.raises(InputError) as refused:
        replace(RD3, **changes)
    assert refused.value.problem == f"protocol: {name}={shown!r}"
    assert refused.value.remedy.startswith("give ")


def test_every_field_of_a_protocol_says_what_it_is() -> None:
    assert [name for name, note in field_notes(Protocol).items() if not note.text] == []
