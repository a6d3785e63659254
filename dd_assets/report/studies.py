"""A study's table: measured accuracies beside the figures the paper prints for the same cells.

Belongs here: rows and their Markdown. Does not belong: the paper's figures (published.py), further tables made of the
rows (study_scores.py), computing (planning/studies.py), torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.planning.studies import study_asset
from dd_assets.planning.unit import Manifest
from dd_assets.report.efficiency import Lookup
from dd_assets.report.formats import size
from dd_assets.report.leaderboard import failed_checks
from dd_assets.report.page import marks
from dd_assets.report.priors import prior_fields, with_diversity
from dd_assets.report.published import Published, published_in, rd3_setting
from dd_assets.report.readings import with_pooled_z
from dd_assets.studies.registry import Study, StudyCell
from dd_resources.store import ArtefactStore

AXES = ("dataset", "ipc", "method", "student", "variant", "label")
COLUMNS = (*AXES, "accuracy", "best", "draws", "seeds", "label_bytes", "paper", "z")
"""What a printed table shows; JSON has all fields."""


def stored_units(study: Study, chosen: Setting, store: ArtefactStore, namespace: str) -> dict[str, Manifest]:
    """What the store holds of a study in a setting: '<ipc>/<key of the unit>' to manifest.

    What was made with overridden parameters is left out: it stands for none of the study's cells.
    """
    found = {}
    for ipc in sorted({cell.ipc for cell in study.cells(chosen)}):
        reference = store.read_reference(namespace, study_asset(study.name), f"{chosen.name}|{ipc}")
        for key, digest in (reference.units if reference and reference.declared else {}).items():
            manifest = store.lookup(digest)
            if manifest is not None:
                found[f"{ipc}/{key}"] = manifest
    return found


def study_rows(
    study: Study,
    chosen: Setting,
    trainings: Mapping[str, Manifest],
    states: Mapping[str, tuple[str, str]],
    lookup: Lookup,
) -> list[dict[str, Any]]:
    """One row per cell of a study in a setting, in the order of its axes; accuracies are fractions.

    A cell of which a student failed a blocking check is refused, and has no accuracy.

    trainings: keys '<ipc>/<cell key>/draw…/seed…' to manifests, beside what else the study computed. states:
    '<ipc>/<cell key>' to (status, reason) where there is nothing to show. lookup: recipe digest to manifest, for label
    tables and costs. A published figure stands beside a cell only where data, resolution, teacher and student are
    RD3's.
    """
    rows = [_row(study, chosen, found, trainings, states, lookup) for found in study.cells(chosen)]
    if study.scores == "readings":
        return with_pooled_z(study, rows)
    return with_diversity(rows) if study.scores == "priors" else rows


def _label_of(chosen: Setting, found: StudyCell) -> str:
    """That of the cell's variant, unless its preset states one."""
    base = replace(chosen.protocol, label=found.variant.label)  # type: ignore[arg-type]
    return found.variant.protocol_of(base, found.method, chosen.data, found.ipc).label


def _row(
    study: Study,
    chosen: Setting,
    found: StudyCell,
    trainings: Mapping[str, Manifest],
    states: Mapping[str, tuple[str, str]],
    lookup: Lookup,
) -> dict[str, Any]:
    key = f"{found.ipc}/{found.key}"
    own = {name: manifest for name, manifest in trainings.items() if name.startswith(f"{key}/")}
    failed = failed_checks(own.values())
    status, reason = ("done", "") if own else states.get(key, ("missing", ""))
    if failed:
        status, reason = "refused", failed[0]
    sound = {} if failed else own
    printed = printed_for(study, chosen, found)
    row: dict[str, Any] = {
        "dataset": chosen.name,
        "ipc": found.ipc,
        "method": found.method,
        "student": found.student,
        "variant": found.variant.name,
        "label": _label_of(chosen, found),
        "status": status,
        "reason": reason,
        "left_out": found.variant.left_out(found.method, chosen.data),
        "published_mean": printed.mean if printed else None,
        "published_std": printed.std if printed else None,
        "published_table": printed.table if printed else None,
        "accuracy_mean": None,
        "accuracy_std": None,
        "best_mean": None,
        "best_std": None,
        "draws": 0,
        "seeds": 0,
        "z": None,
        "learning_rate": None,
        "label_bytes": None,
        "recipes": {name.removeprefix(f"{key}/"): manifest.recipe_digest for name, manifest in own.items()},
        "runs": {name.removeprefix(f"{key}/"): manifest.summary["accuracy"] for name, manifest in sound.items()},
    }
    if study.scores == "priors":
        row |= prior_fields(key, trainings, lookup)
    return row | _measured(sound, printed) | {"label_bytes": _label_bytes(sound, lookup)} if sound else row


def _label_bytes(own: Mapping[str, Manifest], lookup: Lookup) -> int | None:
    """Bytes of a training's label table, mean over the runs; None for hard labels and tables that are gone."""
    tables = [lookup(manifest.sources["labels"]) for manifest in own.values() if "labels" in manifest.sources]
    sizes = [table.total_bytes for table in tables if table is not None]
    return round(statistics.mean(sizes)) if sizes else None


def _measured(own: Mapping[str, Manifest], printed: Published | None) -> dict[str, Any]:
    accuracies = [manifest.summary["accuracy"] for manifest in own.values()]
    best = [manifest.summary["best_accuracy"] for manifest in own.values()]
    mean = statistics.mean(accuracies)
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    parts = [name.rsplit("/", 2)[1:] for name in own]
    protocol = next(iter(own.values())).recipe["parameters"]["protocol"]
    return {
        "accuracy_mean": mean,
        "accuracy_std": spread,
        "best_mean": statistics.mean(best),
        "best_std": statistics.stdev(best) if len(best) > 1 else None,
        "draws": len({draw for draw, _ in parts}),
        "seeds": len({seed for _, seed in parts}),
        "learning_rate": protocol.get("learning_rate"),
        "z": z_score(mean, spread, printed),
    }


def z_score(mean: float, spread: float | None, printed: Published | None) -> float | None:
    """(ours - the paper's) / sqrt(s_ours^2 + s_paper^2), or None where either spread is unknown or both are 0."""
    if printed is None or printed.std is None or spread is None or not (spread or printed.std):
        return None
    return (mean - printed.mean) / math.hypot(spread, printed.std)


def printed_for(study: Study, chosen: Setting, found: StudyCell) -> Published | None:
    """The paper's figure for a cell of its own table, or None."""
    named = found.variant.published
    if study.table is None or not named or not rd3_setting(chosen):
        return None
    return published_in(study.table, chosen.data, found.method, found.ipc, found.student, named)


def row_marks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """'best', 'second' or '' for each row among the methods of its dataset, IPC, student and variant (page.marks)."""
    return marks(
        [{**row, "label": row["variant"], "rank": None if row["accuracy_mean"] is None else 1} for row in rows]
    )


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as text, accuracies in percent: the columns of a printed table."""
    spread = "" if row["accuracy_std"] is None else f" ± {100 * row['accuracy_std']:.1f}"
    paper = "" if row["published_std"] is None else f" ± {100 * row['published_std']:.1f}"
    done = row["accuracy_mean"] is not None
    texts = {
        "accuracy": f"{100 * row['accuracy_mean']:.1f}{spread}" if done else row["status"],
        "best": f"{100 * row['best_mean']:.1f}" if done else "–",
        "label_bytes": size(row["label_bytes"]),
        "paper": "–" if row["published_mean"] is None else f"{100 * row['published_mean']:.1f}{paper}",
        "z": "–" if row["z"] is None else f"{row['z']:+.1f}",
    }
    return {name: texts.get(name, str(row.get(name))) for name in COLUMNS}


def left_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the presets of the rows leave out of the recipes they stand for, a sentence per variant and method."""
    texts = (f"{row['variant']} of {row['method']}: {row['left_out']}" for row in rows if row["left_out"])
    return list(dict.fromkeys(texts))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, the best of each cell in bold and the second best in italics."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row, word in zip(rows, row_marks(rows), strict=True):
        mark, texts = {"best": "**", "second": "*"}.get(word, ""), shown(row)
        lines.append(f"| {' | '.join((texts | {'accuracy': mark + texts['accuracy'] + mark}).values())} |")
    return "\n".join(lines)
