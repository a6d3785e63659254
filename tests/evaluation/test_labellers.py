"""Several teachers, batch statistics: closed forms, and what must not change."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.labellers import Labeller, batch_statistics, micro_batches, mixed, prior_weights
from dd_assets.evaluation.labels import compute_logits
from dd_assets.evaluation.protocol import Labelling, Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.evaluation.views import epoch_geometry
from tests.evaluation.helpers import NORMALISATION, PLAIN, convnet, images

RD3 = VIEW_PRESETS["rd3"]
# Two networks' logits on two views of two classes.
STRONG = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
WEAK = torch.tensor([[0.0, 0.0], [0.0, 1.0]])


class Fixed(nn.Module):
    """Answers given logits, whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits[inputs[:, 0].long()]


def ask(labeller: Labeller, inputs: Tensor, batch: int, micro_seed: int = 0) -> Tensor:
    """All batches of one epoch of these inputs at once."""
    schedule = epoch_geometry(PLAIN, len(inputs), 8, batch, 0, 0)
    return labeller(inputs, schedule, None, rows=256, precision="fp32", seed=micro_seed)


def both(batch: int, **labelling: object) -> Tensor:
    members = (Fixed(STRONG), Fixed(WEAK))
    chosen = Labelling(pool=("strong", "weak"), **labelling)  # type: ignore[arg-type]
    return ask(Labeller(members=members, labelling=chosen, weights=(0.75, 0.25)), torch.tensor([[0.0], [1.0]]), batch)


def test_mean_of_raw_logits() -> None:
    assert both(2).tolist() == [[1.5, 0.0], [0.0, 2.5]]


def test_frobenius_norms_are_made_equal_before_the_mean() -> None:
    """Norms 5 and 1, mean 3: .6 STRONG and 3 WEAK, halved. The plain mean would give 1.5 and 2.5."""
    assert torch.allclose(both(2, mix="frobenius"), torch.tensor([[0.9, 0.0], [0.0, 2.7]]))


def test_frobenius_norms_are_those_of_a_batch() -> None:
    """In batches of one: view 0 has norms 3 and 0 (mean 1.5: WEAK stays zero), view 1 has 4 and 1 (mean 2.5)."""
    apart = both(1, mix="frobenius")
    assert torch.allclose(apart, torch.tensor([[0.75, 0.0], [0.0, 2.5]]))
    assert not torch.allclose(apart, both(2, mix="frobenius"))


def test_priors_weight_the_members() -> None:
    assert torch.allclose(both(2, mix="priors"), 0.75 * STRONG + 0.25 * WEAK)


def test_prior_weights_are_a_softmax_of_percents_over_ten() -> None:
    """60 and 50 %: e / (1 + e) = .731. Priors as fractions would give .502, synthesis's temperature of 5 .881."""
    assert prior_weights([60.0, 50.0]) == pytest.approx((math.e / (1 + math.e), 1 / (1 + math.e)))
    assert sum(prior_weights([63.0, 65.3, 68.5])) == pytest.approx(1)


def test_one_member_is_itself_under_every_mix() -> None:
    alone = [mixed([STRONG], [2], mix, (1.0,)) for mix in ("mean", "frobenius", "priors")]
    assert all(torch.allclose(table, STRONG) for table in alone)


@pytest.mark.parametrize(
    ("views", "micro", "sizes"),
    [
        (16, 8, [8, 8]),
        (10, 8, [8, 2]),
        (9, 8, [9]),
        (17, 8, [8, 9]),
        (5, 8, [5]),
        (5, 0, [5]),
        (1, 8, [1]),
        (5, 2, [2, 3]),
    ],
)
def test_parts_of_a_batch(views: int, micro: int, sizes: list[int]) -> None:
    """A rest of one joins its neighbour: batch norm over one view is the view against itself."""
    assert micro_batches(views, micro) == sizes


def norm_only() -> nn.Module:
    """Logits are the inputs after batch norm; running statistics 0 and 1 leave them as they are."""
    return nn.Sequential(nn.BatchNorm1d(2, eps=1e-12, affine=False)).eval()


VIEWS = torch.tensor([[0.0, 0.0], [2.0, 4.0], [10.0, 5.0], [14.0, 7.0]])


def test_batch_statistics_are_those_of_each_part() -> None:
    """Pairs lie one standard deviation from their mean; over all four the first column is (-6.5, -4.5, 3.5, 7.5) / s.

    With running statistics the answers would be the views themselves, whatever the parts.
    """
    network = norm_only()
    halves = ask(Labeller(members=(network,), labelling=Labelling(batch_norm="batch", micro_batch=2)), VIEWS, 4)
    assert torch.allclose(halves, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]]))
    whole = ask(Labeller(members=(network,), labelling=Labelling(batch_norm="batch")), VIEWS, 4)
    spread = math.sqrt((6.5**2 + 4.5**2 + 3.5**2 + 7.5**2) / 4)
    assert torch.allclose(whole[:, 0], torch.tensor([-6.5, -4.5, 3.5, 7.5]) / spread)
    assert torch.allclose(ask(Labeller(members=(network,)), VIEWS, 4), VIEWS)


def test_batches_of_views_never_share_statistics() -> None:
    """Two batches of two labelled together are what they are apart."""
    labeller = Labeller(members=(norm_only(),), labelling=Labelling(batch_norm="batch"))
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    assert torch.allclose(ask(labeller, VIEWS, 2), expected)


def test_buffers_stay_bit_identical_and_so_do_the_answers() -> None:
    """In train mode, as in CV-DD's code, the running mean would move and num_batches_tracked count the forwards."""
    network, pixels = convnet(seed=3), images(7, 8)
    with torch.no_grad():
        network.train()(torch.randn(64, 3, 8, 8) * 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labeller = Labeller(members=(network.eval(),), labelling=Labelling(batch_norm="batch", micro_batch=2))
    shape = {"batch": 4, "epochs": 2, "seed": 11}
    first, again = (compute_logits(labeller, pixels, RD3, NORMALISATION, **shape) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module.training for module in network.modules())
    running = compute_logits(network, pixels, RD3, NORMALISATION, **shape)
    assert np.abs(first.astype(float) - running).max() > 0.05


def test_the_network_is_itself_again_after_an_error() -> None:
    network = norm_only()
    with pytest.raises(KeyError), batch_statistics(network, dropout=True):
        raise KeyError
    assert network[0].running_mean is not None
    assert not network[0].training


def test_dropout_is_off_unless_asked_for_and_then_drawn_from_the_seed() -> None:
    pixels, network = images(8, 8), convnet(dropout=0.5)
    shape = {"batch": 4, "epochs": 2}

    def table(dropout: bool, seed: int = 11) -> np.ndarray:
        labelling = Labelling(batch_norm="batch", dropout=dropout)
        labeller = Labeller(members=(network,), labelling=labelling)
        return compute_logits(labeller, pixels, PLAIN, NORMALISATION, **shape, seed=seed)

    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    dropped = table(True)
    assert torch.equal(torch.rand(1), expected), "torch's own generator moved"
    assert dropped.tobytes() == table(True).tobytes()
    # Batch norm takes each channel's mean away, so that dropout alone can tell the tables apart so much.
    assert np.abs(dropped.astype(float) - table(False)).max() > 0.05


def test_a_batch_of_one_view_has_no_statistics() -> None:
    labeller = Labeller(members=(convnet(),), labelling=Labelling(batch_norm="batch"))
    with pytest.raises(InputError, match="5 images in batches of 4 leave a batch of one view"):
        compute_logits(labeller, images(5, 8), RD3, NORMALISATION, batch=4, epochs=1, seed=0)


def test_the_default_labelling_is_no_part_of_a_recipe() -> None:
    from dd_assets.planning.digests import plain

    assert plain(Labelling()) == {}
    assert plain(Protocol(views=RD3)).keys().isdisjoint({"labeller", "label_pool", "label_mix", "loss", "gamma"})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"label_mix": "priors"}, "label_mix='priors' would change nothing → set `labeller: committee`"),
        ({"label_pool": ("a",)}, "set `labeller: committee`"),
        ({"label_micro_batch": 8}, "set `label_batch_norm: batch`"),
        ({"gamma": 0.1}, "set `loss: mse_gt`"),
        ({"label_batch_norm": "batch", "label_micro_batch": 1}, "two views or more"),
    ],
)
def test_a_knob_without_effect_is_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Protocol(views=RD3, **fields)  # type: ignore[arg-type]


def test_a_misspelt_choice_is_refused() -> None:
    """Before, `label_storage: onlin` was neither stored nor online, and a student trained on hard labels unasked."""
    with pytest.raises(UnknownNameError, match="did you mean 'online'"):
        Protocol(views=RD3, label_storage="onlin")  # type: ignore[arg-type]


def test_hard_labels_come_from_nobody_and_pools_are_spelled_out() -> None:
    several = Protocol(views=RD3, labeller="committee", label_mix="frobenius", loss="mse_gt", label_storage="online")
    assert several.for_labels("hard", ("a", "b")) == Protocol(views=RD3, label="hard")
    assert several.for_labels("soft", ("a", "b")).label_pool == ("a", "b")
    named = dataclasses.replace(several, label_pool=("b",))
    assert named.for_labels("soft", ("a", "b")).labelling.pool == ("b",)
    with pytest.raises(InputError, match="soft labels by b, which the setting's committee lacks"):
        named.for_labels("soft", ("a",))
    with pytest.raises(InputError, match="its members: none"):
        several.for_labels("soft", ())
