"""The picture of the asset graph in the README, drawn from the stages themselves.

Belongs here: laying out a part of the graph as SVG. Does not belong: charts of results (chart.py, plots.py).
Run `python -m dd_assets.report.graph_picture > docs/pictures/graph.svg`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from dd_assets.planning.graph import stages

SHOWN = ("rded", "sre2l", "edc", "minimax")
"""One method of each way of distilling: selection, one teacher, a committee, generation."""
STUDENT = "convnet2_w64"
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 168, 26, 44, 12, 14
COLOURS = {"dataset": "#e8eefc", "grid": "#eaf6ea", "report": "#fff3d6"}


def shown_graph() -> dict[str, tuple[str, ...]]:
    """Asset to what it reads, for the methods in SHOWN with one student, and the leaderboard."""
    known = stages()
    wanted = [f"{name}/{part}" for name in SHOWN for part in ("synthetic_images", "soft_labels", f"score_{STUDENT}")]
    kept: dict[str, None] = {}

    def add(asset: str) -> None:
        for name in known[asset].inputs:
            if known[name].space == "dataset" or name in wanted:
                add(name)
        kept[asset] = None

    for asset in wanted:
        add(asset)
    graph = {asset: tuple(name for name in known[asset].inputs if name in kept) for asset in kept}
    return graph | {"leaderboard": tuple(asset for asset in wanted if "/score_" in asset)}


def depths(graph: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Asset to the length of the longest way to it; every asset stands after what it reads."""
    found: dict[str, int] = {}
    for asset, inputs in graph.items():
        found[asset] = 1 + max((found[name] for name in inputs), default=-1)
    return found


def draw(graph: Mapping[str, tuple[str, ...]]) -> str:
    """The graph as SVG, columns by depth; an edge that a longer way implies is left out."""
    column = depths(graph)
    places: dict[str, tuple[int, int]] = {}
    rows = {depth: [a for a in graph if column[a] == depth] for depth in sorted(set(column.values()))}
    tallest = max(len(assets) for assets in rows.values())
    for depth, assets in rows.items():
        top = MARGIN + (tallest - len(assets)) * (HEIGHT + GAP_Y) // 2
        for row, asset in enumerate(assets):
            places[asset] = (MARGIN + depth * (WIDTH + GAP_X), top + row * (HEIGHT + GAP_Y))
    behind: dict[str, set[str]] = {}
    lines, boxes = [], []
    for asset, inputs in graph.items():
        implied = {above for name in inputs for above in behind[name]}
        behind[asset] = {*inputs, *implied}
        lines += [_edge(places[name], places[asset]) for name in inputs if name not in implied]
        boxes.append(_box(asset, *places[asset]))
    wide = 2 * MARGIN + len(rows) * (WIDTH + GAP_X) - GAP_X
    high = 2 * MARGIN + tallest * (HEIGHT + GAP_Y) - GAP_Y
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
            ' font-family="sans-serif" font-size="12">',
            "<title>Assets of four methods, from the dataset to the leaderboard</title>",
            f'<rect width="{wide}" height="{high}" fill="#ffffff"/>',
            *lines,
            *boxes,
            "</svg>",
        ]
    )


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y, to_x, to_y = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    middle = (x + to_x) // 2
    return f'<path d="M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}" fill="none" stroke="#9aa5b8"/>'


def _box(asset: str, x: int, y: int) -> str:
    known = stages()
    colour = COLOURS[known[asset].space if asset in known else "report"]
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{colour}" stroke="#5b6478"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 4}" text-anchor="middle">{escape(asset)}</text>'
    )


if __name__ == "__main__":
    print(draw(shown_graph()))
