"""Named protocols: RD3's, each paper's own recipe, the hard-label protocols, distillation losses with settings.

Belongs here: all of them under their names. Does not belong: what a preset is (preset.py), what each changes
(paper_presets.py, loss_presets.py), which study uses it (dd_assets/studies).
"""

from __future__ import annotations

from dd_assets.errors import UnknownNameError
from dd_assets.evaluation.loss_presets import LOSSES
from dd_assets.evaluation.paper_presets import FACTOR_1, HARD_LABELS, PAPERS
from dd_assets.evaluation.preset import Preset, applied
from dd_assets.evaluation.protocol import Protocol

PRESETS: dict[str, Preset] = {
    entry.name: entry
    for entry in (
        Preset(name="rd3", changes={}, source="RD3 Tables 8 and 9: the setting's own protocol"),
        Preset(name="rded_factor", changes={"views": FACTOR_1}, source="RDED's scripts for CIFAR and Tiny-ImageNet"),
        Preset(name="rded_rates", changes={"rates": "rded"}, source="RDED:argument.py; RD3 has 1e-3 for all"),
        *PAPERS,
        *HARD_LABELS,
        *LOSSES,
    )
}


def preset(name: str) -> Preset:
    """The preset of that name; raises UnknownNameError."""
    if name not in PRESETS:
        raise UnknownNameError.of("protocol preset", name, PRESETS)
    return PRESETS[name]


def apply(protocol: Protocol, name: str, data: str, ipc: int) -> Protocol:
    """A setting's protocol under a preset, for a dataset and IPC; its name is the preset's. Raises UnknownNameError."""
    return applied(protocol, preset(name), data, ipc)
