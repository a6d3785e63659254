"""Where a vision transformer looks: the class token's attention in its last block.

Belongs here: reading attention out of timm's VisionTransformer without changing it. Does not belong: what is done with
it (synthesis/attention_patches.py), building networks (networks/libraries.py).

timm's attention is fused and hands out no weights, so they are computed again from queries and keys:
softmax(q k^T / sqrt(d)) (Vaswani et al. 2017, section 3.2.1; Dosovitskiy et al. 2021, appendix D.8, for the use).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.shapes import Float


@dataclass(frozen=True, kw_only=True)
class Attended:
    """What one forward pass answers and where it looked."""

    logits: Tensor
    """float (n, classes)."""
    tokens: Tensor
    """The class token's attention to all tokens, itself and registers first, float (n, heads, tokens); sums to 1."""
    patches: Tensor
    """The part of it that falls on image patches, float (n, heads, rows, cols)."""
    patch: tuple[int, int]
    """Height and width of an image patch in pixels; the patch (0, 0) begins at the image's top left corner."""


def class_attention(model: nn.Module, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n heads rows cols"]:
    """The class token's attention to the image patches in the last block, of normalised images.

    Sums to less than 1 over (rows, cols): the class token looks at itself too. Raises what `attend` raises.
    """
    return attend(model, images).patches


@torch.no_grad()
def attend(model: nn.Module, images: Float[Tensor, "n c h w"]) -> Attended:
    """One forward pass of normalised images with the class token's attention in the last block.

    `model` is any timm VisionTransformer with a class token, in evaluation mode; its sizes are read off it, and it is
    left as it was. Raises InputError for another network.
    """
    network = _transformer(model)
    inputs: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs.append(given[0])

    attention = network.blocks[-1].attn
    handle = attention.register_forward_pre_hook(keep)
    try:
        logits = network(images)
    finally:
        handle.remove()
    tokens = _class_row(attention, inputs[0])
    rows, cols = network.patch_embed.dynamic_feat_size(tuple(images.shape[-2:]))
    patches = tokens[:, :, network.num_prefix_tokens :].unflatten(2, (rows, cols))
    return Attended(logits=logits, tokens=tokens, patches=patches, patch=tuple(network.patch_embed.patch_size))


def _class_row(attention: Any, tokens: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n heads tokens"]:
    """softmax(q_0 k^T / sqrt(d)) of a timm Attention, q_0 the first token's query."""
    heads = (3, attention.num_heads, attention.head_dim)
    queries, keys, _ = attention.qkv(tokens).unflatten(2, heads).permute(2, 0, 3, 1, 4)
    queries, keys = attention.q_norm(queries[:, :, :1]), attention.k_norm(keys)
    return (queries * attention.scale @ keys.transpose(2, 3)).softmax(dim=3).squeeze(2)


def _transformer(model: nn.Module) -> Any:
    """The model, if it is one whose attention can be read; raises InputError."""
    from timm.models.vision_transformer import Attention, VisionTransformer

    remedy = "name a timm VisionTransformer with a class token, such as vit_micro"
    if not isinstance(model, VisionTransformer):
        raise InputError(f"{type(model).__name__} has no class attention to read", remedy)
    if not model.has_class_token:
        raise InputError("this VisionTransformer has no class token", remedy)
    if not isinstance(getattr(model.blocks[-1], "attn", None), Attention):
        raise InputError("this VisionTransformer's last block has an attention of another kind", remedy)
    return model
