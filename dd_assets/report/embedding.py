"""The joint embedding as pictures: real images light, one method's dark, a panel per method.

Belongs here: reading the stored table and drawing it. Does not belong: computing it (units/embedding.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.lazy import np
from dd_assets.planning.unit import Manifest
from dd_assets.units.embedding import ASSET, REAL, TABLE
from dd_assets.units.tables import read_columns
from dd_resources.store import ArtefactStore

SIDE, MARGIN, HEAD = 260, 12, 24
"""Of a panel in SVG units; the head holds its title."""
TURN = 137.5
"""Degrees of hue between one class and the next: the golden angle keeps neighbours apart."""


def panels(store: ArtefactStore, manifest: Manifest) -> dict[str, str]:
    """Method to SVG of one embedding; all have the same axes, and colours are classes."""
    table = read_columns(store.read(manifest, TABLE))
    places = np.stack([table["x"], table["y"]], axis=1)
    low, high = places.min(axis=0), places.max(axis=0)
    span = float((high - low).max()) or 1.0
    spots = MARGIN + (places - (low + high) / 2 + span / 2) / span * (SIDE - 2 * MARGIN)
    spots[:, 1] += HEAD
    sets, labels = table["set"].astype(str), table["label"].astype(int)
    real = "".join(_dots(spots[sets == name], labels[sets == name], name) for name in REAL)
    names = [name for name in dict.fromkeys(sets.tolist()) if name not in REAL]
    return {name: _panel(name, real + _dots(spots[sets == name], labels[sets == name], name)) for name in names}


def _panel(name: str, dots: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE + HEAD}" role="img" '
        f'aria-label="{escape(name)} among real images" font-family="system-ui, sans-serif" fill="currentColor">'
        f'<text x="{MARGIN}" y="17" font-size="14" font-weight="600">{escape(name)}</text>{dots}</svg>'
    )


def _dots(spots: np.ndarray, labels: np.ndarray, name: str) -> str:
    """Real training images as light dots, test images as light rings, synthetic ones dark and larger."""
    marks = []
    for (x, y), label in zip(spots.tolist(), labels.tolist(), strict=True):
        colour = f"hsl({TURN * label % 360:.0f} 70% 42%)"
        if name == "real train":
            style = f'r="2.2" fill="{colour}" opacity=".28"'
        elif name == "real test":
            style = f'r="2.2" fill="none" stroke="{colour}" opacity=".45"'
        else:
            style = f'r="3.2" fill="{colour}" stroke="currentColor" stroke-width=".7"'
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" {style}/>')
    return "".join(marks)


def stored_embeddings(store: ArtefactStore, namespace: str) -> list[dict[str, Any]]:
    """Every stored embedding of an enabled setting: {dataset, ipc, panels, recipe}."""
    found = []
    for entry in settings().values():
        for ipc in entry.ipc:
            reference = store.read_reference(namespace, ASSET, f"{entry.name}|{ipc}")
            manifest = store.lookup(reference.units[ASSET]) if reference else None
            if manifest is not None:
                own: Mapping[str, str] = panels(store, manifest)
                recipe = manifest.recipe_digest
                found.append({"dataset": entry.name, "ipc": ipc, "panels": own, "recipe": recipe})
    return found
