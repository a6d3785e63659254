"""Generators small enough for tests, of the classes that real ones have.

Belongs here: building them and folders of them. Does not belong: assertions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dd_assets.diffusion.building import build_autoencoder, build_transformer, scheduler_config
from dd_assets.diffusion.denoisers import Denoiser
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.registry import GeneratorRecipe, latent_shape
from dd_assets.synthesis.batches import Batch

TINY = GeneratorRecipe(
    space="pixels", width=32, heads=2, layers=2, iterations=6, batch=8, learning_rate=1e-3, warmup=2, hflip=False
)
LATENT = GeneratorRecipe(
    width=32,
    heads=2,
    layers=2,
    patch=1,
    iterations=4,
    batch=8,
    autoencoder_channels=(8, 16),
    autoencoder_iterations=4,
    autoencoder_batch=8,
)


def stirred(module: Any, seed: int = 0) -> Any:
    """The module with random numbers in place of the zeros with which a DiT begins, frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in module.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.3)
    return module.eval().requires_grad_(False)


def as_published(transformer: Any, seed: int = 0) -> Any:
    """A DiT of that size as facebook/DiT's are: further channels for a learned variance, labels dropped by itself."""
    stated = {**transformer.config, "out_channels": 2 * transformer.config["in_channels"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return stirred(type(transformer).from_config(stated), seed)


def generator(
    recipe: GeneratorRecipe = TINY, classes: int = 10, size: int = 8, channels: int = 1, published: bool = False
) -> Generator:
    """An untrained generator with something to say."""
    transformer = stirred(build_transformer(recipe, latent_shape(recipe, size, channels), classes, 0))
    if published:
        transformer = as_published(transformer)
    autoencoder = None
    if recipe.space == "latents":
        autoencoder = stirred(build_autoencoder(recipe, size, channels, 0))
        autoencoder.register_to_config(scaling_factor=0.5)
    return Generator(
        denoiser=Denoiser(transformer),
        autoencoder=autoencoder,
        scheduler=scheduler_config(recipe),
        classes=tuple(map(str, range(classes))),
        class_ids=tuple(range(classes)),
        size=size,
        channels=channels,
    )


def rows(count: int, classes: int = 10) -> Batch:
    """The first rows of a set in (index, class) order."""
    return Batch(*np.divmod(np.arange(count), classes))


def dit_folder(folder: Path, classes: int = 10) -> Generator:
    """A tiny DiT pipeline of the published kind saved to a folder, as the generator that was saved."""
    from dd_assets.diffusion.weights import save_folder

    made = generator(LATENT, classes=classes, size=16, channels=3, published=True)
    save_folder(made, folder)
    return made


def half_folder(folder: Path, place: Path) -> None:
    """A saved pipeline once more, in float16 and in files of that variant alone."""
    from diffusers import DiffusionPipeline

    pipeline: Any = DiffusionPipeline.from_pretrained(folder, dtype=torch.float16, local_files_only=True)
    pipeline.save_pretrained(place, safe_serialization=True, variant="fp16")


def sd_folder(folder: Path) -> None:
    """A tiny random Stable Diffusion pipeline of the published layout, with a tokenizer of 30 words."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789,"]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    spoken = folder.parent / "words"
    spoken.mkdir()
    (spoken / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (spoken / "merges.txt").write_text("#version: 0.2\n")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=16,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=77,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
    StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer(str(spoken / "vocab.json"), str(spoken / "merges.txt"), model_max_length=77),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            skip_prk_steps=True,
            set_alpha_to_one=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)


def sentence_folder(folder: Path, seed: int = 0) -> None:
    """A tiny random sentence encoder in the layout in which they are published, with letters for word pieces."""
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789,"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(pieces))
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder, safe_serialization=True)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    pooling.write_text(json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}))
