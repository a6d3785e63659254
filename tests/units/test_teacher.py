"""A teacher read from the store is each caller's own."""

from __future__ import annotations

import torch

from dd_assets.models.architectures import build_model
from dd_assets.models.checkpoint import to_safetensors
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Product, Unit
from dd_assets.units import teacher
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore


def test_what_one_computation_does_to_its_teacher_reaches_no_other(store: ArtefactStore) -> None:
    # Found by killing runs at random: label tables put the cached teacher into channels_last, and an RDED selection
    # computed later in the same process got scores that differed in their last bits.
    network = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=0)
    metadata = {
        "architecture": "convnet2_w64",
        "classes": list("0123456789"),
        "mean": [0.3],
        "std": [0.4],
        "channels": 1,
        "size": 8,
    }
    unit = Unit(name="teacher", version=1, parameters={}, inputs={})
    product = Product(content="c", payloads={teacher.CHECKPOINT: to_safetensors(network.state_dict(), metadata)})
    made = store.commit(unit, product, {})
    reader = Unit(name="labels", version=1, parameters={}, inputs={"teacher": "c"}, sources={"teacher": unit.digest})
    work = Work(store=store, raw=RawData(), device="cpu", unit=reader)
    assert made.content == "c"

    first = teacher.load(work)
    first.to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        for weight in first.parameters():
            weight.zero_()
    second = teacher.load(work)
    assert not second.training
    assert all(weight.is_contiguous() for weight in second.parameters())
    assert any(weight.abs().sum() > 0 for weight in second.parameters())
