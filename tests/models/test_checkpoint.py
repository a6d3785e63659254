"""Checkpoints: round trip, stable bytes, and each refusal of foreign weights.

Belongs here: checkpoint.py. Does not belong: training.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.models import checkpoint
from dd_assets.models.training import top1
from tests.models.digits import NORMALISATION, digits, trained

CLASSES = tuple(str(digit) for digit in range(10))
METADATA = {
    "architecture": "convnet2_w64",
    "classes": list(CLASSES),
    "mean": list(NORMALISATION.mean),
    "std": list(NORMALISATION.std),
    "channels": 1,
    "size": 8,
    "test_accuracy": 0.97,
    "source": "test",
}


def _write(tmp_path: Path, state: dict | None = None, **changes) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(checkpoint.to_safetensors(state or trained().state, METADATA | changes))
    return path


def _import(path: Path, **changes):
    return checkpoint.import_weights(
        path, **({"architecture": "convnet2_w64", "classes": CLASSES, "channels": 1, "size": 8} | changes)
    )


def test_round_trip_keeps_tensors_metadata_and_accuracy() -> None:
    content = checkpoint.to_safetensors(trained().state, METADATA)
    shuffled = dict(reversed(METADATA.items()))
    assert checkpoint.to_safetensors(trained().state, shuffled) == content
    state, metadata = checkpoint.read(content)
    assert metadata == METADATA
    model = checkpoint.load_classifier(state, metadata)
    assert not model.training
    assert top1(model, digits()[1], NORMALISATION, "cpu")[0] == trained().test_accuracy


def test_broken_bytes_are_refused() -> None:
    content = checkpoint.to_safetensors(trained().state, METADATA)
    for broken in (b"", content[:-1], b"not safetensors at all"):
        with pytest.raises(InputError, match="cannot be read"):
            checkpoint.read(broken)


def test_import_takes_the_files_normalisation_and_records_its_hash(tmp_path: Path) -> None:
    path = _write(tmp_path)
    state, metadata = _import(path)
    assert metadata["mean"] == list(NORMALISATION.mean)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in metadata["source"]
    assert torch.equal(state["head.weight"], trained().state["head.weight"])


def test_a_sidecar_describes_bare_tensors(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    path.write_bytes(checkpoint.to_safetensors(trained().state, {}))
    with pytest.raises(InputError, match=r"states no mean and std.*bare\.json"):
        _import(path)
    path.with_suffix(".json").write_text(json.dumps({"mean": [0.1], "std": [0.2], "classes": list(CLASSES)}))
    assert _import(path)[1]["mean"] == [0.1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": list(CLASSES[:9])}, "has 9 classes, the setting has 10"),
        ({"classes": ["0", "2", "1", *CLASSES[3:]]}, "class 1 is '2', the setting has '1' there"),
    ],
)
def test_other_classes_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _import(_write(tmp_path, **changes))


def test_other_head_normalisation_and_keys_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path)
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(checkpoint.to_safetensors(trained().state, {"mean": [0.1], "std": [0.2]}))
    with pytest.raises(InputError, match="has 10 outputs, the setting has 11 classes"):
        _import(bare, classes=(*CLASSES, "10"))
    with pytest.raises(InputError, match="was trained with mean"):
        _import(path, normalisation=Normalisation(mean=(0.5,), std=(0.5,)))
    with pytest.raises(InputError, match=r"fit resnet20_cifar: missing: conv1\.weight, bn1\.weight, bn1\.bias"):
        _import(path, architecture="resnet20_cifar")
    with pytest.raises(InputError, match="does not fit convnet2_w128: other shapes"):
        _import(path, architecture="convnet2_w128")


def test_missing_files_and_bad_values_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.safetensors do not exist"):
        _import(tmp_path / "absent.safetensors")
    for bad in (float("nan"), float("inf")):
        state = {name: value.clone() for name, value in trained().state.items()}
        state["blocks.1.0.weight"][3, 2, 1, 0] = bad
        with pytest.raises(InputError, match=r"tensor blocks\.1\.0\.weight has NaN or infinite"):
            _import(_write(tmp_path, state))


def test_pickles_need_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in trained().state.items()}}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=f"sha256: {digest}"):
        _import(path)
    with pytest.raises(InputError, match="expected 00"):
        _import(path, sha256="0" * 64)
    state, metadata = _import(path, sha256=digest, normalisation=NORMALISATION)
    assert torch.equal(state["head.bias"], trained().state["head.bias"])
    assert metadata["std"] == list(NORMALISATION.std)


def test_pickles_with_code_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weights": Path("anything")}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=r"weights\.pth"):
        _import(path, sha256=digest, normalisation=NORMALISATION)


@pytest.mark.parametrize(
    "written",
    [
        "{bad",
        "[1]",
        '{"mean": "x", "std": [0.2]}',
        '{"mean": [0.1], "std": null}',
        '{"classes": 5}',
        '{"std": [0]}',
        f'{{"mean": [1{"0" * 400}]}}',
    ],
)
def test_a_sidecar_that_says_nothing_usable_is_named(tmp_path: Path, written: str) -> None:
    path = tmp_path / "bare.safetensors"
    path.write_bytes(checkpoint.to_safetensors(trained().state, {"mean": [0.1], "std": [0.2]}))
    path.with_suffix(".json").write_text(written)
    with pytest.raises(InputError, match=r"bare\.json.* → .*docs/datasets\.md"):
        _import(path)


def test_a_header_that_says_nothing_usable_is_named_by_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights\.safetensors.*mean='x'.* → .*docs/datasets\.md"):
        _import(_write(tmp_path, mean="x"))
