"""Which parameters of a DiT a fine-tuning moves: all of them, or DiffFit's.

Belongs here: choosing them, DiffFit's scales and folding these into the weights afterwards. Does not belong: the loop
(finetuning.py).

Source: Xie et al., ICCV 2023, arXiv 2304.06648, as vimar-gu/MinimaxDiffusion 969fc6f has it (models.py, train_dit.py):
biases, norms, class embeddings and, in the first half of the blocks, scales on queries, keys, values, the attention's
output and what either branch adds to the stream. Every scale multiplies the output of a linear layer, so it folds into
that layer and the fine-tuned network has the shape of the one it came from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

SCALES = ("gamma", "gamma_block")
"""On a layer's output; on what a branch adds to the stream, the original's second scale of the same output."""


class Subset(nn.Module):
    """The parameters that are trained, under their own names, as a module: what averages and checkpoints hold."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                # A module's own parameters cannot have a dot in their name.
                self.register_parameter(name.replace(".", "/"), parameter)


class Scales:
    """DiffFit's scales in a DiT, from `install` until `fold`."""

    def __init__(self, transformer: Any) -> None:
        blocks = list(transformer.transformer_blocks)
        self.layers: list[tuple[nn.Linear, tuple[str, ...]]] = []
        for block in blocks[: len(blocks) // 2]:
            attention = block.attn1
            self.layers += [(layer, SCALES[:1]) for layer in (attention.to_q, attention.to_k, attention.to_v)]
            self.layers += [(attention.to_out[0], SCALES), (block.ff.net[2], SCALES[1:])]
        self.handles: list[RemovableHandle] = []

    def install(self) -> None:
        """Add the scales, all 1, as parameters of the layers that they act on."""
        for layer, names in self.layers:
            for name in names:
                layer.register_parameter(name, nn.Parameter(torch.ones_like(layer.weight[:, 0])))
            self.handles.append(layer.register_forward_hook(_scaled))

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply weights and biases by the scales and take these away; the network's answers stay."""
        for layer, names in self.layers:
            scale = _scale(layer)
            layer.weight.mul_(scale[:, None])
            layer.bias.mul_(scale)
            for name in names:
                delattr(layer, name)
        for handle in self.handles:
            handle.remove()


def choose(transformer: Any, which: str) -> Scales | None:
    """Mark what is trained ("all" or "difffit") in place; returns the scales of the latter, installed.

    DiT's names say "norm" of what diffusers calls `norm1.linear`: the original's are the layer norms' own parameters
    alone, of which DiT has none, and not the modulation, a third of the network.
    """
    if which == "all":
        transformer.requires_grad_(True)
        return None
    scales = Scales(transformer)
    scales.install()
    norms = {id(p) for m in transformer.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    for name, parameter in transformer.named_parameters():
        last = name.rsplit(".", 1)[-1]
        chosen = last == "bias" or last in SCALES or "class_embedder" in name or id(parameter) in norms
        parameter.requires_grad_(chosen)
    return scales


def _scale(layer: nn.Module) -> Tensor:
    found = [getattr(layer, name) for name in SCALES if hasattr(layer, name)]
    return found[0] if len(found) == 1 else found[0] * found[1]


def _scaled(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output * _scale(layer)
