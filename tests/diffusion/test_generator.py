"""The one object for every generator: its passes of the encoder, the decoder that gradients go through.

Belongs here: generator.py and how units ask for it. Does not belong: folders (test_folders.py), sampling.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dd_assets.diffusion.generator import Generator
from dd_assets.methods.registry import method
from dd_assets.planning.digests import plain
from dd_assets.progress import NoCheckpoints, silent
from dd_assets.units import images
from tests.diffusion.tiny import LATENT, generator
from tests.methods.requests import digit_facts


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


def test_a_shard_loads_its_generator_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, given = [], method("d4m").recipe_for("digits").parameters
    parameters = {**plain(given), "steps": 3, "start": "noise", "guidance_scale": 1.0}
    monkeypatch.setattr(images.generator, "load", lambda work: (loaded.append(work), generator())[1])
    facts = digit_facts()
    stated = {"classes": list(facts.classes), "size": 8, "channels": 1, "hflip": False}
    stated["normalisation"] = plain(facts.normalisation)
    unit: Any = SimpleNamespace(
        name="images/d4m",
        parameters={"method": parameters, "facts": stated, "first": 0, "last": 1, "ipc": 1},
        inputs={},
        setting="digits",
        seed=0,
    )
    work: Any = SimpleNamespace(device="cpu", checkpoints=NoCheckpoints(), progress=silent)
    made = images.compute(unit, work)
    assert made.summary["rows"] == 10
    # The levels are told too, from the schedule of the same one.
    assert made.measurements["steps_meant"] == {}
    assert len(loaded) == 1
