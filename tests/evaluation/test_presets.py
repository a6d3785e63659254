"""Protocol presets: each can be applied everywhere, and says what the paper says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import UnknownNameError
from dd_assets.evaluation.presets import PRESETS, apply, changed
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.planning.digests import plain

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


def test_the_hard_label_protocol_trains_longer_on_fewer_images() -> None:
    epochs = [apply(RD3, "igd_hard", "imagenette", ipc).epochs for ipc in (1, 10, 50, 100)]
    assert epochs == [3000, 2000, 1500, 1000]
    made = apply(RD3, "igd_hard", "imagenette", 10).for_student(True, 100).for_labels("hard")
    assert (made.optimiser, made.learning_rate, made.batch, made.views.cutmix_alpha) == ("sgd", 0.01, 64, 1.0)


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
