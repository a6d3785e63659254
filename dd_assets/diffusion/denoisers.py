"""Noise prediction: diffusers' DiT and conditional UNet behind one call.

Belongs here: conditions, the call, activations of inner blocks. Does not belong: classifier-free combination and
schedules (generator.py, sampling.py), building or reading weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.shapes import Float


@dataclass(frozen=True, eq=False)
class Condition:
    """What each row is asked to be: class ids of the generator, int64 (n,), or text, float (n, tokens, d)."""

    classes: Tensor | None = None
    text: Tensor | None = None

    def _value(self) -> Tensor:
        found = self.text if self.classes is None else self.classes
        assert found is not None
        return found

    def __len__(self) -> int:
        return len(self._value())

    def rows(self, chosen: slice | Tensor) -> Condition:
        """Some of the rows."""
        return Condition(
            classes=None if self.classes is None else self.classes[chosen],
            text=None if self.text is None else self.text[chosen],
        )

    def then(self, other: Condition) -> Condition:
        """These rows and then those of another condition of the same kind."""
        both = torch.cat([self._value(), other._value()])
        return Condition(text=both) if self.classes is None else Condition(classes=both)


class _FoundError(Exception):
    """Ends a forward pass whose rest nobody needs."""


class Denoiser:
    """A DiTTransformer2DModel (class ids) or UNet2DConditionModel (text), frozen unless its owner trains it."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.reads_text = type(module).__name__ == "UNet2DConditionModel"
        if type(module).__name__ == "DiTTransformer2DModel":
            undropped(module)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what it denoises."""
        config = self.module.config
        return int(config["in_channels"]), int(config["sample_size"]), int(config["sample_size"])

    @property
    def null(self) -> int:
        """The class id that stands for no class: one after the last (facebookresearch/DiT, issue 108)."""
        return int(self.module.config["num_embeds_ada_norm"])

    def __call__(self, x: Float[Tensor, "n c h w"], timesteps: Tensor, condition: Condition) -> Tensor:
        """What the network predicts, float32 (n, c, h, w); a learned variance (further channels) is left out."""
        dtype = self.module.dtype
        if self.reads_text:
            text = condition.text
            assert text is not None
            out = self.module(x.to(dtype), timesteps, encoder_hidden_states=text.to(dtype), return_dict=False)[0]
        else:
            out = self.module(x.to(dtype), timestep=timesteps, class_labels=condition.classes, return_dict=False)[0]
        return out[:, : x.shape[1]].float()

    def layers(self) -> list[nn.Module]:
        """The blocks whose outputs `features` can give, input side first."""
        if not self.reads_text:
            return list(self.module.transformer_blocks)
        return [*self.module.down_blocks, self.module.mid_block, *self.module.up_blocks]

    def features(self, x: Float[Tensor, "n c h w"], timesteps: Tensor, condition: Condition, layer: int) -> Tensor:
        """Output of block `layer`, float32: (n, tokens, d) of a DiT, (n, d, h, w) of a UNet; differentiable in x.

        The forward pass ends there. Raises InputError for a layer that does not exist.
        """
        blocks, seen = self.layers(), []
        if not 0 <= layer < len(blocks):
            raise InputError(f"the generator has no layer {layer}", f"it has 0 to {len(blocks) - 1}")

        def keep(block: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)
            raise _FoundError

        handle = blocks[layer].register_forward_hook(keep)
        try:
            self(x, timesteps, condition)
        except _FoundError:
            pass
        finally:
            handle.remove()
        return seen[0].float()


def undropped(transformer: Any) -> Any:
    """The DiT with the label drop of its blocks turned off, in place.

    diffusers gives each block an embedder that in training mode drops a tenth of the labels on its own account, and
    calls the first one's again for the output, so that hardly any sample is without its label in every block and the
    null class stays untrained (models/embeddings.py, LabelEmbedding). The value is not part of the configuration.
    """
    for block in transformer.transformer_blocks:
        block.norm1.emb.class_embedder.dropout_prob = 0.0
    return transformer
