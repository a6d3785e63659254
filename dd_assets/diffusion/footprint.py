"""How much memory a generator takes, found without spending it.

Belongs here: counting bytes of weights and of activations on torch's meta device, where tensors have shapes and no
storage. Does not belong: what a method does with them (planning/generation_cost.py).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dd_assets.diffusion.generator import Generator


def footprint(generator: Generator) -> dict[str, int]:
    """Bytes of a generator, JSON-able.

    weights: of all its networks. denoiser, decoder: of the largest output of one layer, per image; encoder: the same
    for all images of a pass of `Generator.encode`. denoiser_kept, decoder_kept: what autograd keeps per image when a
    gradient is taken with respect to the input (weights frozen).
    """
    networks = {"denoiser": generator.denoiser.module, "autoencoder": generator.autoencoder}
    text = getattr(generator.text, "encoder", None)
    found = {"weights": sum(_weights(module) for module in (*networks.values(), text) if isinstance(module, nn.Module))}
    latent = torch.zeros(1, *generator.shape, device="meta")
    found["denoiser"], found["denoiser_kept"] = _activations(
        generator.denoiser.module, lambda module: _denoised(module, latent, generator)
    )
    if generator.autoencoder is not None:
        found["decoder"], found["decoder_kept"] = _activations(
            generator.autoencoder, lambda module: module.decode(latent.clone().requires_grad_()).sample
        )
        side, channels = generator.encoded_side, int(generator.autoencoder.config["in_channels"])
        images = torch.zeros(generator.encoding_batch, channels, side, side, device="meta")
        found["encoder"], _ = _activations(generator.autoencoder, lambda module: module.encode(images).latent_dist)
    return found


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def _denoised(module: Any, latent: Tensor, generator: Generator) -> Tensor:
    x, timestep = latent.clone().requires_grad_(), torch.zeros(1, dtype=torch.long, device="meta")
    if generator.denoiser.reads_text:
        width = int(module.config["cross_attention_dim"])
        tokens = torch.zeros(1, generator.null_condition(1)._value().shape[1], width, device="meta")
        return module(x, timestep, encoder_hidden_states=tokens, return_dict=False)[0]
    labels = torch.zeros(1, dtype=torch.long, device="meta")
    return module(x, timestep=timestep, class_labels=labels, return_dict=False)[0]


def _activations(module: nn.Module, run: Any) -> tuple[int, int]:
    """(bytes of the largest layer output, bytes kept for the backward pass) of what `run` passes, in float32."""
    shadow = copy.deepcopy(module).to("meta").float().eval().requires_grad_(False)
    # A transposed weight is a view: what tells it from an activation is the storage.
    own = {parameter.untyped_storage()._cdata for parameter in shadow.parameters()}
    largest: list[int] = [0]
    kept: dict[int, int] = {}

    def seen(layer: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            largest.append(output.numel() * output.element_size())

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    handles = [layer.register_forward_hook(seen) for layer in shadow.modules() if not list(layer.children())]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(shadow)
    for handle in handles:
        handle.remove()
    return max(largest), sum(kept.values())
