"""How an image influences the training of a classifier: its gradient, and the cosine to a class's.

Belongs here: gradients in all parameters, mean class gradients, the cosine and its slope in the image, which is a
second derivative. Does not belong: training the classifier (models/trajectory.py), guidance (methods/igd).

Source: Chen, Du, Huang, Yin, Zhang, Wang: "Influence-Guided Diffusion for Dataset Distillation", ICLR 2025;
mchen725/DD_IGD 912e868, sample.py (get_grads) and test_ckpts_grad_sim.py. Gradients are compared by their cosine: their
lengths differ by orders of magnitude along a training. Networks stay in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.models.pixels import normalised
from dd_assets.shapes import Float, Int

CHUNK = 50
"""Images per pass of a class gradient."""
TINY = 1e-12


def chosen_rows(train: ImageArrays, label: int, count: int, seed: int) -> np.ndarray:
    """At most `count` rows of a class, int64, ascending; which ones is keyed by seed and class."""
    rows = train.of_class(label)
    order = randomness.permutation(len(rows), seed, "influence", "images", label)
    return np.sort(rows[order[:count]])


def class_gradient(
    network: nn.Module,
    train: ImageArrays,
    label: int,
    count: int,
    normalisation: Normalisation,
    seed: int,
    device: str | torch.device = "cpu",
) -> Float[Tensor, " p"]:
    """Mean gradient of the cross-entropy over a class's `chosen_rows`, all parameters in one vector, float32."""
    rows = chosen_rows(train, label, count, seed)
    parameters = [value.detach().clone().requires_grad_() for value in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    total = torch.zeros(sum(value.numel() for value in parameters), device=device)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        images = normalised(train.images[part], normalisation, device)
        logits = torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), (images,))
        loss = F.cross_entropy(logits, torch.full((len(part),), label, device=device), reduction="sum")
        total += torch.cat([slope.reshape(-1) for slope in torch.autograd.grad(loss, parameters)])
    return total / len(rows)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Of two vectors; 0 where either is 0."""
    return one @ other / (one.norm() * other.norm()).clamp_min(TINY)


def loss_and_slope(
    network: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    wanted: Float[Tensor, "n p"],
    rows_at_once: int = 8,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]:
    """Per image 1 - cos(its parameter gradient, `wanted`) and that figure's derivative in the image.

    images: normalised network input. Every image is looked at alone, as with the original's batch of one; what `wanted`
    holds of its class is a constant. The derivative goes through the gradient itself: were that detached, it would be
    zero.
    """
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def error(own: Mapping[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(network, dict(own), (image[None],))
        return F.cross_entropy(logits, label[None])

    def apart(image: Tensor, label: Tensor, target: Tensor) -> Tensor:
        slopes = torch.func.grad(error)(parameters, image, label)
        return 1 - cosine(torch.cat([slopes[name].reshape(-1) for name in parameters]), target)

    both: Callable[..., tuple[Tensor, Tensor]] = torch.func.grad_and_value(apart)
    slopes, losses = torch.func.vmap(both, chunk_size=rows_at_once)(images, labels, wanted)
    return losses.detach(), slopes.detach()


def mean_loss_and_slope(
    networks: Sequence[nn.Module],
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    wanted: Sequence[Tensor],
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]:
    """`loss_and_slope`, the mean over the kept checkpoints; `wanted` holds (n, p) for each of them."""
    parts = [loss_and_slope(network, images, labels, own) for network, own in zip(networks, wanted, strict=True)]
    return torch.stack([loss for loss, _ in parts]).mean(0), torch.stack([slope for _, slope in parts]).mean(0)
