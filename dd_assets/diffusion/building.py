"""New generators: diffusers' DiT, conditional UNet and AutoencoderKL at the sizes of a recipe.

Belongs here: configurations and initialisation. Does not belong: training (training.py, autoencoder.py), weights of
others (folders.py).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from dd_assets import randomness
from dd_assets.diffusion.denoisers import undropped
from dd_assets.diffusion.registry import GeneratorRecipe

TRAIN_STEPS = 1000


def scheduler_config(recipe: GeneratorRecipe) -> dict[str, Any]:
    """The DDIMScheduler configuration of a recipe: DiT's betas; predicted clean samples clipped in pixels only."""
    return {
        "num_train_timesteps": TRAIN_STEPS,
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "beta_schedule": recipe.schedule,
        "prediction_type": "epsilon",
        "clip_sample": recipe.space == "pixels",
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": "leading",
    }


def build_transformer(recipe: GeneratorRecipe, shape: tuple[int, int, int], classes: int, seed: int) -> Any:
    """A DiTTransformer2DModel for `classes` classes and a null class, initialised from (seed, "generator") alone.

    The adaptive norms and the output layer begin at zero, as DiT's (facebookresearch/DiT models.py,
    initialize_weights); diffusers leaves them at its defaults, made for weights that are loaded over them.
    """
    from diffusers import DiTTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(randomness.torch_seed(seed, "generator", "transformer"))
        model: Any = DiTTransformer2DModel(
            num_attention_heads=recipe.heads,
            attention_head_dim=recipe.width // recipe.heads,
            in_channels=shape[0],
            out_channels=shape[0],
            num_layers=recipe.layers,
            sample_size=shape[1],
            patch_size=recipe.patch,
            num_embeds_ada_norm=classes,
            norm_type="ada_norm_zero",
            norm_elementwise_affine=False,
        )
    for block in model.transformer_blocks:
        nn.init.zeros_(block.norm1.linear.weight)
        nn.init.zeros_(block.norm1.linear.bias)
    for layer in (model.proj_out_1, model.proj_out_2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return undropped(model)


def build_unet(recipe: GeneratorRecipe, shape: tuple[int, int, int], text_width: int, seed: int) -> Any:
    """A UNet2DConditionModel that reads prompts of `text_width` numbers, initialised from (seed, "generator") alone.

    Its output layer begins at zero, as the DiT's. The side must be even, as `latent_shape` sees to.
    """
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(randomness.torch_seed(seed, "generator", "unet"))
        model: Any = UNet2DConditionModel(
            sample_size=shape[1],
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=(recipe.width, 2 * recipe.width),
            # Attention at the lower resolution alone, which takes a third of the time off.
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=recipe.layers,
            cross_attention_dim=text_width,
            # diffusers takes this number for that of the heads.
            attention_head_dim=recipe.heads,
            norm_num_groups=math.gcd(32, recipe.width),
        )
    nn.init.zeros_(model.conv_out.weight)
    nn.init.zeros_(model.conv_out.bias)
    return model


def build_autoencoder(recipe: GeneratorRecipe, size: int, channels: int, seed: int) -> Any:
    """An AutoencoderKL, initialised from (seed, "generator") alone; its scaling factor is set after training."""
    from diffusers import AutoencoderKL

    levels = len(recipe.autoencoder_channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(randomness.torch_seed(seed, "generator", "autoencoder"))
        return AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=recipe.autoencoder_channels,
            latent_channels=recipe.latent_channels,
            # Where the smallest width divides the others there are as many groups as it has channels, at most 32.
            norm_num_groups=math.gcd(min(32, *recipe.autoencoder_channels), *recipe.autoencoder_channels),
            sample_size=size,
            scaling_factor=1.0,
        )
