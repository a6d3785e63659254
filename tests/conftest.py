"""What every test may use. Fixtures only; nothing here asserts."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything of the project is imported: from here on every shape annotation in these modules is checked.
CHECKED = [
    "dd_assets.diffusion.autoencoder",
    "dd_assets.diffusion.captions",
    "dd_assets.diffusion.denoisers",
    "dd_assets.diffusion.energy",
    "dd_assets.diffusion.finetuning",
    "dd_assets.diffusion.generator",
    "dd_assets.diffusion.guiding",
    "dd_assets.diffusion.loss_difference",
    "dd_assets.diffusion.minimax",
    "dd_assets.diffusion.repulsion",
    "dd_assets.diffusion.sampling",
    "dd_assets.diffusion.text",
    "dd_assets.evaluation.labellers",
    "dd_assets.evaluation.kd_terms",
    "dd_assets.evaluation.losses",
    "dd_assets.evaluation.mixing",
    "dd_assets.evaluation.pixel_views",
    "dd_assets.evaluation.losses_kd",
    "dd_assets.methods.dap.kernels",
    "dd_assets.methods.igd.synthesis",
    "dd_assets.methods.mgd3.synthesis",
    "dd_assets.models.attention",
    "dd_assets.models.networks",
    "dd_assets.models.pixels",
    "dd_assets.synthesis.attention_patches",
    "dd_assets.synthesis.bn_statistics",
    "dd_assets.synthesis.committee_matching",
    "dd_assets.synthesis.densification",
    "dd_assets.synthesis.feature_statistics",
    "dd_assets.synthesis.influence",
    "dd_assets.synthesis.patches",
    "dd_assets.synthesis.real_statistics",
    "dd_assets.synthesis.shifts",
]
install_import_hook(CHECKED, "beartype.beartype")

from dd_resources.store import ArtefactStore  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    """A new store in a temporary folder."""
    return ArtefactStore(str(tmp_path / "store")).open()


@pytest.fixture
def shared_data() -> Path:
    """The folder of real datasets that stands beside the checkout on some machines."""
    if not SHARED.is_dir():
        pytest.skip(f"the real datasets are not at {SHARED}")
    return SHARED
