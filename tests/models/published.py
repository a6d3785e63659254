"""Fabricated published weights, laid where torchvision and timm look for theirs.

Belongs here: 1000-way networks with seeded weights, and both caches. Does not belong: assertions.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn


@cache
def network(name: str) -> nn.Module:
    """A 1000-way network of torchvision (or timm) with seeded weights, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make = timm.create_model if name.startswith("vit") else torchvision.models.get_model
        return make(name).eval()


def in_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Any, state: dict[str, torch.Tensor]) -> Path:
    """Lay a state where torch's hub looks for `weights`, under a name that states the file's own SHA-256."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    place = tmp_path / "checkpoints"
    place.mkdir()
    torch.save(state, place / "new")
    digest = hashlib.sha256((place / "new").read_bytes()).hexdigest()
    file = (place / "new").rename(place / f"net-{digest[:8]}.pth")
    monkeypatch.setattr(weights.value, "url", f"https://download.pytorch.org/models/{file.name}")
    return file


def in_hugging_face(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, state: dict[str, Any]) -> None:
    """Lay a state where the Hugging Face hub's cache keeps timm's `model`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / f"models--timm--{model}", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    safetensors.torch.save_file(state, repository / "snapshots" / commit / "model.safetensors")
