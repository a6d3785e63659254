"""Generators as bytes, and as a folder in diffusers' layout.

Belongs here: one safetensors file with everything that a generator trained here consists of, reading it back, writing
the folder that `DiTPipeline.from_pretrained` loads. Does not belong: folders of others (folders.py), where bytes are
kept.

Tensor names begin with `transformer.` or `autoencoder.`; the header's entry holds their configurations, the noise
schedule, the classes and class ids, size and channels; of one that reads prompts also its text encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dd_assets.diffusion.denoisers import Denoiser
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.text import Locate, encoder_of
from dd_assets.errors import InputError
from dd_assets.models.checkpoint import read, to_safetensors

TRANSFORMER, AUTOENCODER = "transformer.", "autoencoder."


def pack_generator(
    transformer: nn.Module,
    autoencoder: nn.Module | None,
    metadata: Mapping[str, Any],
    averaged: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, metadata) for `to_bytes`; `averaged` replaces the transformer's parameters of those names.

    metadata must have scheduler, classes, class_ids, size and channels, and `text` where the transformer is a UNet
    that reads prompts.
    """
    own = {**transformer.state_dict(), **(averaged or {})}
    state = {f"{TRANSFORMER}{name}": value for name, value in own.items()}
    full = {**metadata, "transformer": _config(transformer), "autoencoder": None}
    if autoencoder is not None:
        state |= {f"{AUTOENCODER}{name}": value for name, value in autoencoder.state_dict().items()}
        full["autoencoder"] = _config(autoencoder)
    return state, full


def to_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The stored file; equal in, equal out."""
    return to_safetensors(state, metadata)


def from_bytes(data: bytes, device: str = "cpu", locate: Locate | None = None) -> Generator:
    """The frozen generator of a stored file; raises InputError if the tensors do not fit the configurations.

    `locate` says where the folder of a text encoder lies.
    """
    from diffusers import AutoencoderKL, DiTTransformer2DModel, UNet2DConditionModel

    state, metadata = read(data)
    text = metadata.get("text")
    kind = DiTTransformer2DModel if text is None else UNet2DConditionModel
    transformer = _filled(kind, metadata["transformer"], state, TRANSFORMER, device)
    stated = metadata["autoencoder"]
    return Generator(
        denoiser=Denoiser(transformer),
        autoencoder=None if stated is None else _filled(AutoencoderKL, stated, state, AUTOENCODER, device),
        scheduler=metadata["scheduler"],
        classes=tuple(metadata["classes"]),
        class_ids=tuple(metadata["class_ids"]),
        size=metadata["size"],
        channels=metadata["channels"],
        text=None if text is None else encoder_of(text, locate, device),
        device=device,
    )


def save_folder(generator: Generator, folder: Path) -> None:
    """Write a DiT generator with an autoencoder so that `DiTPipeline.from_pretrained(folder)` loads it.

    Raises InputError for one without: diffusers' pipeline cannot do without an autoencoder.
    """
    from diffusers import DDIMScheduler, DiTPipeline

    if generator.autoencoder is None or generator.denoiser.reads_text:
        raise InputError("only a class-conditional generator on latents has diffusers' folder layout")
    scheduler = DDIMScheduler(**generator.scheduler)
    parts = {"transformer": generator.denoiser.module, "vae": generator.autoencoder, "scheduler": scheduler}
    pipeline: Any = DiTPipeline(**parts)
    pipeline.save_pretrained(folder, safe_serialization=True)


def _config(module: nn.Module) -> dict[str, Any]:
    """The configuration as JSON-able values, without diffusers' own version and path entries."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dict(module.config).items()  # type: ignore[arg-type]
        if not name.startswith("_")
    }


def _filled(kind: Any, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str, device: str) -> Any:
    module = kind.from_config(dict(config))
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"the generator's {prefix[:-1]} does not fit its configuration: {error}") from error
    return module.to(device).eval().requires_grad_(False)
