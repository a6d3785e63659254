"""The one object for every generator: its passes of the encoder, the decoder that gradients go through.

Belongs here: generator.py and how units ask for it. Does not belong: folders (test_folders.py), sampling.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dd_assets.diffusion.generator import Generator
from dd_assets.methods.registry import method
from dd_assets.units import images
from tests.diffusion.tiny import LATENT, generator


def test_a_pass_of_the_encoder_holds_as_many_pixels_at_any_size() -> None:
    # 64 up to 64 px, as ever: stored latents and what was made of them keep their bits.
    sizes = {side: generator(LATENT, size=side).encoding_batch for side in (8, 32, 64, 128, 256, 512)}
    assert sizes == {8: 64, 32: 64, 64: 64, 128: 16, 256: 4, 512: 1}
    assert generator().encoding_batch == 64


def test_images_are_encoded_in_such_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = generator(LATENT, size=256, channels=3), []
    encode = made.autoencoder.encode
    monkeypatch.setattr(made.autoencoder, "encode", lambda x: (seen.append(tuple(x.shape)), encode(x))[1])
    assert made.encode(np.zeros((5, 16, 16, 3), dtype=np.uint8)).shape == (5, 4, 128, 128)
    assert seen == [(4, 3, 256, 256), (1, 3, 256, 256)]


def _half() -> Generator:
    made = generator(LATENT, size=16, channels=3)
    made.autoencoder.half()
    return made


def test_a_gradient_goes_through_a_float32_decoder_and_a_shared_one_stays_as_it_is() -> None:
    made = _half()
    wide = made.with_exact_decoder()
    assert (made.autoencoder.dtype, wide.autoencoder.dtype) == (torch.float16, torch.float32)
    assert wide.denoiser is made.denoiser
    z = torch.zeros(1, *made.shape, requires_grad=True)
    shown = wide.decode(z)
    # Below the least number of half precision, 6e-8: there this slope would be 0.
    (slope,) = torch.autograd.grad(shown, z, torch.full_like(shown, 1e-9))
    assert float(slope.abs().max()) > 0
    for exact in (generator(), generator(LATENT, size=16, channels=3)):
        assert exact.with_exact_decoder() is exact


EXACT, HALF = torch.float32, torch.float16


@pytest.mark.parametrize(("name", "dtype"), [("igd", EXACT), ("prism_dfkd", EXACT), ("dap", HALF)])
def test_methods_that_guide_through_the_decoder_get_that_one(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _half()
    monkeypatch.setattr(images.generator, "load", lambda work: made)
    assert images._generator(method(name), None).autoencoder.dtype == dtype  # type: ignore[arg-type]
