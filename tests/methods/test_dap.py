"""DAP: which features, which references, which way, and how far.

Belongs here: methods/dap on tiny untrained generators. Does not belong: the loop (tests/diffusion), choosing references
(tests/diffusion/test_references.py).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion import references
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.folders import load_folder
from dd_assets.diffusion.generate import Generated, conditions
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.sampling import Step, Trace, noised, sample
from dd_assets.methods.dap.recipe import BANK, KERNELS, Parameters, part_of
from dd_assets.methods.dap.synthesis import Representativeness, representativeness, synthesise
from dd_assets.methods.registry import method
from dd_assets.methods.request import ClassCentroids, ReferenceLatents, SyntheticImages
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import LATENT, TINY, dit_folder, generator, rows, sd_folder
from tests.methods.requests import digit_facts, request
from tests.models.digits import digits
from tests.models.interruption import Killed, MemoryCheckpoints

QUICK = Parameters(steps=5, batch=5, gamma=0.05, length="unit", count=4, guidance_scale=1.0)
KMEANS = replace(QUICK, references="kmeans")


@cache
def _bank(choice: str) -> ReferenceLatents:
    made = generator()
    train = digits()[0]
    if choice == "class":
        return references.drawn(made, train, 10, seed=0)
    firsts = np.stack([train.of_class(label)[:2] for label in range(10)], axis=1).reshape(-1)
    near = made.encode(train.images[firsts]).numpy()
    sizes = np.ones(20, dtype=np.int64)
    return references.members(
        made, train, ClassCentroids(centers=near, nearest=near, source_index=firsts, sizes=sizes, classes=10)
    )


def _made(parameters: Parameters, ipc: int = 2, **further) -> SyntheticImages:
    asked = request(parameters, ipc, **further)
    asked.generator = generator
    asked.reference_latents = lambda: _bank(parameters.choice)
    return synthesise(asked)


def _guide(parameters: Parameters = QUICK) -> Representativeness:
    return Representativeness(parameters, _bank(parameters.choice), 2)


def _step(made: Generator, batch: Batch, parameters: Parameters = QUICK, position: int = 3) -> Step:
    schedule = made.schedule(parameters.steps)
    condition, null = conditions(made, batch, parameters)
    torch.manual_seed(0)
    x = torch.randn(len(batch.labels), *made.shape)
    return Step(
        x=x,
        eps=torch.zeros_like(x),
        position=position,
        schedule=schedule,
        rows=batch,
        generator=made,
        condition=condition,
        null=null,
        scale=parameters.guidance_scale,
        seed=0,
    )


def _distance(guide: Representativeness, step: Step, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return guide.distance(step.generator, x, step.rows, step.condition, step.timestep, step.alpha_bar, seed=0)


@pytest.mark.parametrize("name", KERNELS)
def test_a_small_step_lowers_the_distance(name: str) -> None:
    parameters = replace(QUICK, kernel=name, gamma=0.01)
    guide, step = _guide(parameters), _step(generator(), rows(6), parameters)
    with torch.enable_grad():
        moved = guide.correct(step).mean
    before, after, away = (_distance(guide, step, step.x + sign * moved) for sign in (0, 1, -1))
    assert (after < before).all()
    assert (away > before).all()
    # Its length is γ per number.
    assert moved.pow(2).mean(dim=(1, 2, 3)).sqrt().tolist() == pytest.approx([0.01] * 6, rel=1e-4)


def test_a_raw_step_is_gamma_times_the_gradient() -> None:
    parameters = replace(QUICK, length="raw", gamma=2.0)
    guide, step = _guide(parameters), _step(generator(), rows(2), parameters)
    with torch.enable_grad():
        moved = guide.correct(step).mean
    nudge = torch.zeros_like(step.x)
    nudge[1, 0, 4, 4] = 0.01
    slope = (_distance(guide, step, step.x + nudge) - _distance(guide, step, step.x - nudge))[1] / 0.02
    assert float(moved[1, 0, 4, 4]) == pytest.approx(-2.0 * float(slope), rel=0.05)


def _by_hook(made: Generator, block: nn.Module, x: torch.Tensor, step: Step, condition: Condition) -> torch.Tensor:
    """What a block gives for x at the step's t, from a whole pass of the network."""
    seen: list[torch.Tensor] = []
    handle = block.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    with torch.no_grad():
        made.denoiser(x, torch.full((len(x),), step.timestep), condition)
    handle.remove()
    (found,) = seen
    return found


def _expected(made: Generator, block: nn.Module, guide: Representativeness, step: Step) -> torch.Tensor:
    """Mean Euclidean distance of the step's first sample from its references in what a block gives."""
    chosen = guide.references.of(int(step.rows.labels[0]))[:4]
    clean = torch.from_numpy(guide.references.latents[chosen])
    shown = noised(clean, guide._normals(chosen, 0, step.x.device), step.alpha_bar)
    alike = step.condition.rows(torch.zeros(1 + len(chosen), dtype=torch.long))
    found = _by_hook(made, block, torch.cat([step.x[:1], shown]), step, alike)
    # Tokens are the middle dimension of a DiT's, positions the last two of a UNet's.
    pooled = found.mean(dim=1) if found.dim() == 3 else found.mean(dim=(2, 3))
    flat = pooled if guide.parameters.pooled else found.reshape(len(found), -1)
    return (flat[0] - flat[1:]).norm(dim=1).mean()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("layer", "block"), [(0.0, 0), (0.3, 1), (0.7, 2), (0.99, 3)])
def test_the_fraction_is_a_block_and_all_or_the_mean_of_its_tokens_count(
    layer: float, block: int, pooled: bool
) -> None:
    made, parameters = generator(replace(TINY, layers=4)), replace(QUICK, layer=layer, pooled=pooled)
    guide, step = _guide(parameters), _step(made, Batch(np.array([0]), np.array([4])), parameters)
    found = _distance(guide, step, step.x)[0]
    distances = [_expected(made, each, guide, step) for each in made.denoiser.module.transformer_blocks]
    torch.testing.assert_close(found, distances[block], rtol=1e-4, atol=1e-4)
    assert all(float((other / found - 1).abs()) > 3e-3 for n, other in enumerate(distances) if n != block)


class _Spied(Generator):
    """Keeps what its features are asked for."""

    asked: list[tuple[torch.Tensor, int, Condition, int]]

    def features(self, x, timestep, condition, layer):
        self.asked.append((x.detach(), timestep, condition, layer))
        return super().features(x, timestep, condition, layer)


def _spied() -> _Spied:
    made = generator()
    spied = _Spied(**{name: getattr(made, name) for name in made.__dataclass_fields__})
    spied.asked = []
    return spied


def test_references_are_noised_to_the_same_timestep_under_the_class() -> None:
    made, guide = _spied(), _guide(replace(QUICK, layer=0.6))
    batch = Batch(np.arange(2), np.array([7, 7]))
    noise = {}
    for position in (1, 3):
        made.asked.clear()
        step = _step(made, batch, position=position)
        with torch.enable_grad():
            guide.correct(step)
        (own, t_own, _, layer), (theirs, t_theirs, condition, its) = made.asked
        assert (t_own, t_theirs, layer, its) == (step.timestep, step.timestep, 1, 1)
        assert torch.equal(own, step.x)
        # The conditional branch alone: neither the null class (10) nor a batch of both.
        assert condition.classes.tolist() == [7] * 4
        clean = torch.from_numpy(_bank("class").latents[_bank("class").of(7)[:4]])
        noise[position] = (theirs - math.sqrt(step.alpha_bar) * clean) / math.sqrt(1 - step.alpha_bar)
    # Clean references against a noisy sample would measure the noise. Here each keeps its own at every t.
    torch.testing.assert_close(noise[1], noise[3], rtol=1e-3, atol=1e-4)
    assert 0.8 < float(noise[1].std()) < 1.2
    assert not torch.allclose(noise[1][0], noise[1][1])


def test_the_distance_is_the_mean_over_the_references() -> None:
    made = generator()
    guide, step = _guide(), _step(made, Batch(np.array([0]), np.array([4])))
    bank = _bank("class")
    chosen = bank.of(4)[:4]
    shown = noised(torch.from_numpy(bank.latents[chosen]), guide._normals(chosen, 0, step.x.device), step.alpha_bar)
    with torch.no_grad():
        theirs = made.features(shown, step.timestep, Condition(classes=torch.full((4,), 4)), 0).flatten(1)
        own = made.features(step.x, step.timestep, Condition(classes=torch.tensor([4])), 0).flatten(1)
    expected = (own - theirs).norm(dim=1).mean()
    torch.testing.assert_close(_distance(guide, step, step.x)[0], expected, rtol=1e-4, atol=1e-4)


def test_who_is_compared_with_whom() -> None:
    guide = {name: _guide(replace(QUICK, references=name)) for name in ("class", "chunk", "kmeans")}
    batch = Batch(np.array([0, 1, 1]), np.array([3, 3, 5]))
    source = {
        name: [(own, made.references.source_index[chosen].tolist()) for own, chosen in made._groups(batch)]
        for name, made in guide.items()
    }
    assert [own for own, _ in source["class"]] == [[0, 1], [2]]
    for name in ("chunk", "kmeans"):
        assert [own for own, _ in source[name]] == [[0], [1], [2]]
        assert all(len(found) == 4 for _, found in source[name])
    first, second = source["chunk"][0][1], source["chunk"][1][1]
    assert not set(first) & set(second)
    assert source["class"][0][1] == first
    train = digits()[0]
    # The nearest to centroid (1, 3), which is an image of the class here, is that image.
    assert source["kmeans"][1][1][0] == train.of_class(3)[1]
    assert (train.labels[source["kmeans"][2][1]] == 5).all()
    assert part_of(replace(QUICK, references="chunk"), 2) == slice(8, 12)
    assert BANK == {"class": references.DRAWN, "chunk": references.DRAWN, "kmeans": references.MEMBERS}


def test_candidates_share_the_references_of_their_image() -> None:
    batch = Batch(np.array([0, 1, 2, 3]), np.array([3, 3, 3, 3]))
    for name in ("chunk", "kmeans"):
        groups = _guide(replace(QUICK, references=name))._groups(batch)
        # Beyond the two images of a class there are no further centroids or parts.
        assert [members for members, _ in groups] == [[0, 2], [1, 3]]
        assert all(len(chosen) == 4 for _, chosen in groups)


def test_a_kept_candidate_is_compared_with_the_references_it_was_drawn_towards() -> None:
    made, guide, images = generator(), _guide(KMEANS), digits()[0].images[:20]
    labels, asked = np.tile(np.arange(10), 2), request(KMEANS, 2)

    def figure(order: np.ndarray) -> np.ndarray:
        rows = Batch(np.repeat([0, 1], 10)[order], labels[order])
        kept = Generated(images=images[order], labels=labels[order], rows=rows)
        return representativeness(guide, made, kept, asked)

    # The same images with the same references, whichever the teacher ranks first.
    np.testing.assert_allclose(figure(np.roll(np.arange(20), 10)), figure(np.arange(20)), rtol=1e-4)


@pytest.mark.parametrize(("name", "asked"), [("class", 12), ("chunk", 40)])
def test_the_figure_asks_for_a_classs_references_once_per_pass(name: str, asked: int) -> None:
    made, parameters = _spied(), replace(QUICK, batch=10, references=name)
    guide, images = Representativeness(parameters, _bank("class"), 4), digits()[0].images[:40]
    rows = Batch(*np.divmod(np.arange(40), 10))
    kept = Generated(images=images, labels=rows.labels, rows=rows)
    found = representativeness(guide, made, kept, request(parameters, 4))
    seen = sum(len(x) for x, *_ in made.asked)
    # Forty images in four passes; each pass holds parts of three classes. In rows of the set it holds all ten.
    assert seen == 40 + asked * parameters.count
    at_once = representativeness(guide, made, kept, request(replace(parameters, batch=40), 4))
    # Rounding alone, which passes of another size do differently: 1.02e-4 on a processor with AMX.
    np.testing.assert_allclose(found, at_once, rtol=5e-4)
    # The noise of a pass's references is forgotten: of a thousand classes it would be a gigabyte.
    assert not guide._noise


def test_what_is_shared_by_all_sampling_is_drawn_together_here_too() -> None:
    assert not KMEANS.joint
    for changes in ({"candidates": 2}, {"start": "gaussian", "groups": 5}, {"repulsion": 0.3}, {"references": "class"}):
        assert replace(KMEANS, **changes).joint, changes


def test_strength_zero_is_plain_sampling_bit_for_bit() -> None:
    from dd_assets.methods.d4m import recipe
    from dd_assets.methods.d4m.synthesis import synthesise as plain

    asked = request(recipe.Parameters(steps=5, batch=5, start="noise", guidance_scale=1.0), 2)
    asked.generator = generator
    images = plain(asked).images
    for parameters in (QUICK, KMEANS):
        assert np.array_equal(_made(replace(parameters, gamma=0.0)).images, images)
    made, batch, trace = generator(), rows(6), Trace()
    condition, null = conditions(made, batch, QUICK)
    drawn = [
        sample(made, batch, QUICK, 0, condition=condition, null=null, guidances=guidances, trace=trace)
        for guidances in ([], [_guide(replace(QUICK, gamma=0.0))])
    ]
    assert torch.equal(*drawn)


def test_guidance_raises_representativeness_and_lowers_the_distance() -> None:
    # A γ that moves nothing, so that the distance is recorded.
    plain, guided = _made(replace(KMEANS, gamma=1e-9)), _made(replace(KMEANS, gamma=0.2))
    assert guided.curves["representativeness"].mean() > 1.2 * plain.curves["representativeness"].mean()
    assert guided.curves["distance"][-1] < 0.9 * plain.curves["distance"][-1]
    assert guided.curves["distance_index"].tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]


def test_one_set_of_references_for_a_class_costs_diversity() -> None:
    def spread(parameters: Parameters) -> float:
        images = _made(parameters, ipc=2).images.astype(float).reshape(2, 10, -1)
        return float(np.linalg.norm(images[0] - images[1], axis=1).mean())

    plain = spread(replace(QUICK, gamma=0.0))
    alike, own = spread(replace(QUICK, gamma=0.3)), spread(replace(KMEANS, gamma=0.3))
    assert alike < 0.8 * plain
    assert own > 1.2 * alike


def test_the_window_is_in_signal_levels() -> None:
    made = _made(replace(KMEANS, guided_until=0.1))
    levels = generator().schedule(5).levels()
    assert made.curves["guided"].tolist() == [4 * int((levels <= 0.1).sum())]
    assert made.curves["distance_index"][0] == 4


@pytest.mark.parametrize("parameters", [QUICK, KMEANS])
def test_a_killed_set_goes_on_with_the_same_images(parameters: Parameters) -> None:
    whole, place = _made(parameters), MemoryCheckpoints(die_after=1)
    with pytest.raises(Killed):
        _made(parameters, checkpoints=place)
    assert np.array_equal(_made(parameters, checkpoints=place).images, whole.images)


def test_shards_and_batches_change_no_image() -> None:
    whole = _made(KMEANS).images
    parts = [_made(KMEANS, first=k, last=k + 1).images for k in range(2)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(_made(replace(KMEANS, batch=10)).images, whole)
    assert np.array_equal(_made(replace(QUICK, batch=20)).images, _made(QUICK).images)
    assert method("dap_kmeans").shards_by_index(KMEANS)
    # With the class as references its samples are drawn together, so that its features are computed once for all.
    assert not method("dap").shards_by_index(QUICK)


def test_a_latent_generator_is_guided_in_its_latents() -> None:
    made = generator(LATENT, size=16, channels=3, classes=2)
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    bank = references.drawn(made, ImageArrays(images, np.repeat([0, 1], 6)), 2, seed=0)
    parameters = replace(QUICK, length="noise")
    guide, step = Representativeness(parameters, bank, 2), _step(made, rows(2, classes=2), parameters)
    with torch.enable_grad():
        moved = guide.correct(step).mean
    assert moved.shape == (2, *made.shape)
    expected = 0.05 * math.sqrt(1 - step.alpha_bar)
    assert moved.pow(2).mean(dim=(1, 2, 3)).sqrt().tolist() == pytest.approx([expected] * 2, rel=1e-4)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("kind", "layer"), [("dit", 0.6), ("stable", 0.5)])
def test_both_pipelines_have_features_that_guide(kind: str, layer: float, pooled: bool, tmp_path: Path) -> None:
    folder = tmp_path / kind / "pipeline"
    folder.parent.mkdir()
    (dit_folder if kind == "dit" else sd_folder)(folder)
    made = load_folder(folder, classes=tuple("abcdefghij"), class_ids=tuple(range(10)), size=16, channels=3)
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    bank = references.drawn(made, ImageArrays(images, np.repeat(np.arange(10), 3)), 10, seed=0)
    text = {"condition": "text"} if kind == "stable" else {}
    parameters = replace(QUICK, steps=3, layer=layer, pooled=pooled, guidance_scale=4.0, gamma=0.3, **text)
    batch = rows(3)
    condition, null = conditions(made, batch, parameters)
    guide = Representativeness(parameters, bank, 1)
    drawn = sample(made, batch, parameters, 0, condition=condition, null=null, guidances=[guide])
    plain = sample(made, batch, parameters, 0, condition=condition, null=null)
    assert not drawn.requires_grad
    last = _step(made, batch, parameters, position=2)
    module = made.denoiser.module
    block = module.mid_block if kind == "stable" else module.transformer_blocks[1]
    torch.testing.assert_close(
        _distance(guide, last, last.x)[0], _expected(made, block, guide, last), rtol=1e-3, atol=1e-4
    )
    assert (_distance(guide, last, drawn) < _distance(guide, last, plain)).all()


def test_it_takes_d4ms_start_by_its_fields_alone() -> None:
    on_d4m = replace(KMEANS, steps=50, start="centroid", start_level=0.4)
    near = digits()[0].images[:20].astype(np.float32).reshape(20, 1, 8, 8) / 127.5 - 1
    sizes = np.ones(10, dtype=np.int64)
    asked = request(on_d4m, 1)
    asked.generator, asked.reference_latents = generator, lambda: _bank("kmeans")
    asked.centroids = lambda: ClassCentroids(
        centers=near[:10], nearest=near[:10], source_index=np.arange(10), sizes=sizes, classes=10
    )
    assert synthesise(asked).curves["guided"].tolist() == [2 * 16]
    row = method("dap_d4m")
    assert row.synthesis == method("dap").synthesis
    assert row.reads_centroids(row.recipe_for("digits").parameters)
    assert not method("dap").reads_centroids(method("dap").recipe_for("digits").parameters)


def test_what_cannot_apply_has_a_reason() -> None:
    facts, chosen = replace(digit_facts(), generators=("small",)), method("dap")
    own = chosen.recipe_for("digits").parameters

    def reason(ipc: int = 1, **changes: object) -> str:
        return str(chosen.reason_against(replace(own, **changes), facts, ipc))

    assert reason() == "None"
    assert "kernel 'sigmoid' is none of linear" in reason(kernel="sigmoid")
    assert "length 'short'" in reason(length="short")
    assert "references 'all'" in reason(references="all")
    assert "gamma=-1" in reason(gamma=-1.0)
    assert "layer=1.0" in reason(layer=1.0)
    assert "is no window" in reason(guided_from=1.0)
    assert "count=9: 8 real latents are kept (kmeans)" in reason(references="kmeans", count=9)
    for kernel in ("rbf", "laplacian"):
        assert f"count=1: the width of kernel {kernel} is a distance between references" in reason(
            kernel=kernel, count=1
        )
        assert reason(kernel=kernel, count=2) == "None"
        few = replace(facts, train_counts=(1, *facts.train_counts[1:]))
        wide = replace(own, kernel=kernel)
        assert "its smallest class has 1 training image" in str(chosen.reason_against(wide, few, 1))
        assert chosen.reason_against(own, few, 1) is None
    assert reason(kernel="cosine", count=1) == "None"
    assert "50 disjoint parts of 4 images: 128 are kept" in reason(50, references="chunk", count=4)
    assert "IPC is 1000" in reason(1000)
    assert method("dap").references_of(own) == "class"
    assert method("dap_kmeans").references_of(method("dap_kmeans").recipe_for("digits").parameters) == "kmeans"
    assert method("d4m").references_of(method("d4m").recipe_for("digits").parameters) == ""
