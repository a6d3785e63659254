"""The class token's attention, checked against softmax(q k^T / sqrt(d)) by hand (reference 12, traps 1 and 2).

Belongs here: models/attention.py. Does not belong: what windows are made of it (tests/methods/test_focusdd.py).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import ParallelScalingBlock, VisionTransformer
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.models.architectures import build_model
from dd_assets.models.attention import attend, class_attention


def tiny(**changes) -> VisionTransformer:
    """A vision transformer of width 6, two heads and two blocks on 4x8 images, its weights large enough to matter."""
    sizes = dict(img_size=(4, 8), patch_size=2, in_chans=1, num_classes=3, embed_dim=6, depth=2, num_heads=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(**(sizes | changes))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.7)
    return model.eval().requires_grad_(False)


def some_images(count: int = 3, channels: int = 1, height: int = 4, width: int = 8) -> Tensor:
    levels = np.sin(np.arange(count * channels * height * width) * 1.7)
    return torch.tensor(levels, dtype=torch.float32).view(count, channels, height, width)


def by_hand(model: VisionTransformer, images: Tensor) -> np.ndarray:
    """Class-token attention (n, heads, tokens) in NumPy from what enters the last block."""
    tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    for block in model.blocks[:-1]:
        tokens = block(tokens)
    last = model.blocks[-1]
    entering = last.norm1(tokens).double().numpy()
    weight, bias = last.attn.qkv.weight.double().numpy(), last.attn.qkv.bias.double().numpy()
    width, heads = weight.shape[1], last.attn.num_heads
    queries, keys = ((entering @ weight.T + bias)[..., part * width : (part + 1) * width] for part in (0, 1))
    d = width // heads
    result = []
    for head in range(heads):
        q, k = queries[:, 0, head * d : (head + 1) * d], keys[:, :, head * d : (head + 1) * d]
        odds = np.exp(np.einsum("nd,ntd->nt", q, k) / np.sqrt(d))
        result.append(odds / odds.sum(axis=1, keepdims=True))
    return np.stack(result, axis=1)


@pytest.mark.parametrize("prefix", [{}, {"reg_tokens": 2}, {"no_embed_class": True, "pre_norm": True}])
def test_attention_is_the_softmax_of_queries_and_keys(prefix) -> None:
    model, images = tiny(**prefix), some_images()
    seen, expected = attend(model, images), by_hand(model, images)
    np.testing.assert_allclose(seen.tokens.numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(seen.tokens.sum(dim=2).numpy(), 1, rtol=1e-6)
    # Row-major patches after the class token and the registers; 2 rows and 4 columns, not 4 and 2.
    skipped = 1 + prefix.get("reg_tokens", 0)
    patches = class_attention(model, images).numpy()
    np.testing.assert_allclose(patches, expected[:, :, skipped:].reshape(3, 2, 2, 4), rtol=1e-4)
    assert (patches.sum(axis=(2, 3)) < 1).all()
    # Attention depends on the image, so that the comparison above is not one of constants.
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_fused_attention_hands_out_no_weights() -> None:
    model, images = tiny(), some_images()
    fused = model.blocks[-1].attn
    assert fused.fused_attn
    # The only result is a tensor of tokens: nothing to read attention from.
    assert fused(torch.zeros(1, 9, 6)).shape == (1, 9, 6)
    wanted = class_attention(model, images)
    for block in model.blocks:
        block.attn.fused_attn = False
    torch.testing.assert_close(class_attention(model, images), wanted)


def test_logits_are_the_models_own_and_nothing_is_left_behind() -> None:
    model, images = tiny(), some_images()
    seen = attend(model, images)
    torch.testing.assert_close(seen.logits, model(images), rtol=0, atol=0)
    assert seen.patch == (2, 2)
    assert not model.blocks[-1].attn._forward_pre_hooks
    with pytest.raises(AssertionError, match="height"):
        attend(model, some_images(height=6))
    assert not model.blocks[-1].attn._forward_pre_hooks


def test_sizes_are_read_off_the_network() -> None:
    micro = build_model("vit_micro", classes=10, channels=1, size=8, seed=0).eval()
    assert class_attention(micro, some_images(height=8)).shape == (3, 3, 4, 4)
    # The layout of vit_base_patch16_224, two blocks deep: 14x14 patches of 16 px, 12 heads.
    base = VisionTransformer(embed_dim=768, num_heads=12, depth=2, num_classes=5).eval()
    seen = attend(base, some_images(1, 3, 224, 224))
    assert seen.patches.shape == (1, 12, 14, 14)
    assert seen.tokens.shape == (1, 12, 197)
    # A network for any size takes its grid from the images.
    free = tiny(dynamic_img_size=True, dynamic_img_pad=True)
    assert class_attention(free, some_images(height=6, width=7)).shape == (3, 2, 3, 4)


def test_normalised_queries_and_keys_are_used() -> None:
    plain, normed, images = tiny(), tiny(qk_norm=True), some_images()
    normed.load_state_dict(plain.state_dict(), strict=False)
    attention = normed.blocks[-1].attn
    nn.init.zeros_(attention.q_norm.weight)
    nn.init.zeros_(attention.q_norm.bias)
    # Queries of zero look everywhere alike: 1 of 9 tokens each. Without the norm they would not.
    torch.testing.assert_close(attend(normed, images).tokens, torch.full((3, 2, 9), 1 / 9))
    assert (attend(plain, images).tokens - 1 / 9).abs().max() > 0.01


def test_other_networks_are_refused() -> None:
    convnet = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=0)
    with pytest.raises(InputError, match="ConvNet has no class attention to read"):
        attend(convnet, some_images(height=8))
    with pytest.raises(InputError, match="no class token"):
        attend(tiny(class_token=False, global_pool="avg"), some_images())
    with pytest.raises(InputError, match="another kind"):
        attend(tiny(block_fn=ParallelScalingBlock), some_images())
