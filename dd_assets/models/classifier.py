"""A network's classifier: its last linear layer, and what that layer is given.

Belongs here: finding it, and a network that answers with penultimate features. Does not belong: what is done with
features (synthesis/, units/diversity.py, evaluation/label_codecs.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dd_assets.errors import InputError


def classifier_of(network: nn.Module) -> nn.Linear:
    """The last linear layer in `network.modules()` order, which is the classifier in every architecture here.

    Raises InputError for a network without one.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError("the teacher has no linear layer, so it has no penultimate features", "use another teacher")
    return linear[-1]


class Penultimate(nn.Module):
    """A network that answers with the (B, D) that its classifier is given instead of its (B, C) logits.

    `forward` raises InputError where the classifier does not make the network's logits of them: features would then
    not stand for its answers.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier_of(network)

    def forward(self, inputs: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = self.classifier.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
        try:
            logits = self.network(inputs)
        finally:
            handle.remove()
        features = seen[-1].flatten(1) if seen else inputs.new_empty(0, 0)
        if not seen or not torch.allclose(self.classifier(features), logits, rtol=1e-3, atol=1e-3):
            raise InputError(
                f"{type(self.network).__name__}'s logits are not its last linear layer's", "keep labels as logits"
            )
        return features
