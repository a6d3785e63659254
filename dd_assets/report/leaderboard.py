"""The leaderboard's rows, from what the store holds.

Belongs here: gathering scores by reference and ranking them. Does not belong: drawing them (page.py, cli.py), torch.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.methods.registry import METHODS
from dd_assets.planning.digests import text_digest
from dd_assets.planning.graph import students
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.report.efficiency import Lookup, mean_cost
from dd_assets.report.metrics import published_z
from dd_assets.report.provenance import provenance
from dd_assets.report.published import note, published, rd3_setting
from dd_resources.store import ArtefactStore

NOT_LABELLERS = ("images", "priors")
"""Inputs of a label table that are no network."""
OVERRIDDEN, FAILED = "overridden", "failed check"
OTHER_DATA, OTHER_PROTOCOL, OTHER_LABELLER = "other data", "other protocol", "other labeller"
"""Why a row has no rank: `apart`."""
CONDITIONS = ("protocol", "normalisation", "classes", "channels", "size")
"""A training's parameters that its rivals must share."""
Conditions = tuple[str, str, str]
"""(content of the dataset, digest of `CONDITIONS`, digest of who labelled: '' for hard labels, and for soft ones whose
table is gone)."""


def score_references(store: ArtefactStore, namespace: str) -> Iterator[tuple[str, str, str, int, Reference]]:
    """Every scored cell: (method, student, setting, ipc, reference), in the order of the registries."""
    there = store.referenced(namespace)
    for entry in settings().values():
        for ipc in entry.ipc:
            for name in METHODS():
                for student in students():
                    target = (f"{name}/score_{student}", f"{entry.name}|{ipc}")
                    reference = store.read_reference(namespace, *target) if target in there else None
                    if reference is not None:
                        yield name, student, entry.name, ipc, reference


def conditions(trainings: Iterable[Manifest], lookup: Lookup) -> frozenset[Conditions]:
    """Under what trainings were made, the method's images apart."""
    found = []
    for manifest in trainings:
        stated = manifest.recipe["parameters"]
        rules = text_digest([stated.get(name) for name in CONDITIONS])
        found.append((manifest.recipe["inputs"].get("dataset", ""), rules, _labellers(manifest, lookup)))
    return frozenset(found)


def _labellers(training: Manifest, lookup: Lookup) -> str:
    """A digest of all that a training's label table was made of but the images."""
    table = lookup(training.sources["labels"]) if "labels" in training.sources else None
    read = {name: content for name, content in table.recipe["inputs"].items() if name != "images"} if table else {}
    return text_digest(read) if read else ""


def failed_checks(trainings: Iterable[Manifest]) -> list[str]:
    """What the blocking verdicts say that students failed."""
    verdicts = (verdict for manifest in trainings for verdict in manifest.verdicts)
    return [f"{one.name}: {one.message}" for one in verdicts if one.blocking and not one.passed]


def apart(group: Mapping[str, frozenset[Conditions]]) -> dict[str, str]:
    """Method to why it does not compete, or '': other data, protocol or labeller than most methods of a cell.

    Of equally many the first stands, in the registry's order. A labeller that is not known stands for any.
    """
    every = [one for found in group.values() for one in found]
    (data, rules), _ = Counter((content, rule) for content, rule, _ in every).most_common(1)[0]
    known = Counter(who for content, rule, who in every if (content, rule) == (data, rules) and who)
    labellers = {"", *(who for who, _ in known.most_common(1))}
    words = {}
    for name, found in group.items():
        if {content for content, _, _ in found} != {data}:
            words[name] = OTHER_DATA
        elif {rule for _, rule, _ in found} != {rules}:
            words[name] = OTHER_PROTOCOL
        else:
            words[name] = "" if {who for _, _, who in found} <= labellers else OTHER_LABELLER
    return words


def _units(store: ArtefactStore, reference: Reference | None) -> dict[str, Manifest]:
    if reference is None:
        return {}
    found = {key: store.lookup(digest) for key, digest in reference.units.items()}
    return {key: manifest for key, manifest in found.items() if manifest is not None}


def leaderboard_rows(store: ArtefactStore, namespace: str) -> list[dict[str, Any]]:
    """One row per scored cell, student and label mode, ranked within its group; accuracies are fractions."""
    rows: list[dict[str, Any]] = []
    lookup = cache(store.lookup)
    for name, student, dataset, ipc, reference in score_references(store, namespace):
        cell = f"{dataset}|{ipc}"
        images = _units(store, store.read_reference(namespace, f"{name}/synthetic_images", cell))
        real = store.read_reference(namespace, "dataset", dataset)
        made = [manifest.recipe_digest for manifest in images.values()]
        owes = provenance(store, made, real.contents["dataset"]) if made and real is not None else ""
        labels = _units(store, store.read_reference(namespace, f"{name}/soft_labels", cell))
        trainings = _units(store, reference)
        for mode in dict.fromkeys(key.split("/")[0] for key in trainings):
            chosen = {key: m for key, m in trainings.items() if key.startswith(f"{mode}/")}
            score = _score(chosen)
            rows.append(
                {
                    "dataset": dataset,
                    "ipc": ipc,
                    "method": name,
                    "student": student,
                    "label": mode,
                    **score,
                    **_cost(images, labels if mode == "soft" else {}, lookup),
                    "teacher_bytes": _labeller_bytes(store, namespace, dataset, labels, lookup)
                    if mode == "soft"
                    else 0,
                    "label_agreement": _agreement(chosen, lookup),
                    **_published(settings()[dataset], (name, ipc, student, mode), score),
                    "declared": reference.declared,
                    "conditions": conditions(chosen.values(), lookup),
                    "failed": failed_checks(chosen.values()),
                    "provenance": owes,
                    "image_sets": _contents(images),
                    "trainings": _contents(chosen),
                }
            )
    return _ranked(rows)


def _score(trainings: Mapping[str, Manifest]) -> dict[str, Any]:
    accuracies, best = (
        [manifest.summary[name] for manifest in trainings.values()] for name in ("accuracy", "best_accuracy")
    )
    protocol = next(iter(trainings.values())).recipe["parameters"]["protocol"]
    return {
        "protocol": protocol["name"],
        "label_storage": _kept(protocol),
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "draws": len({key.split("/")[1] for key in trainings}),
        "seeds": len({key.split("/")[2] for key in trainings}),
        "best_mean": statistics.mean(best),
        "best_std": statistics.stdev(best) if len(best) > 1 else None,
        "train_accuracy_mean": statistics.mean(manifest.summary["train_accuracy"] for manifest in trainings.values()),
        "training_seconds": sum(manifest.seconds for manifest in trainings.values()),
    }


def _contents(manifests: Mapping[str, Manifest]) -> str:
    """The beginnings of the content digests, by which a table that left the store can be held against another store."""
    return " ".join(manifest.content[:16] for manifest in manifests.values())


def _kept(protocol: Mapping[str, Any]) -> str:
    """How soft labels are kept: "online", "stored", or what of them is stored, such as "stored, int8, top 5"."""
    storage = str(protocol.get("label_storage", "stored"))
    if storage != "stored":
        return storage
    codec, most, epochs = (protocol.get(f"label_{name}") for name in ("codec", "top_k", "epochs"))
    parts = [
        codec if codec and codec != "fp16" else "",
        f"top {most}" if most else "",
        f"{epochs} epochs" if epochs else "",
    ]
    return ", ".join(["stored", *filter(None, parts)])


def _cost(images: Mapping[str, Manifest], labels: Mapping[str, Manifest], lookup: Lookup) -> dict[str, Any]:
    """Per draw: seconds of synthesis and of one label table, bytes of one image set and of one label table.

    `synthesis_seconds` is wall time; the others are the device's (efficiency.Cost).
    """
    draws = max(len(images), 1)
    synthesis = sum(manifest.measurements.get("synthesis_seconds", 0.0) for manifest in images.values())
    sizes = [manifest.payloads["images.parquet"].bytes for manifest in images.values()]
    tables = [manifest.total_bytes for manifest in labels.values()]
    cost = mean_cost(images.values(), lookup)
    return {
        "synthesis_seconds": synthesis / draws,
        "device_seconds": cost.synthesis if cost else None,
        "teacher_seconds": cost.teacher if cost else None,
        "generator_seconds": cost.generator if cost else None,
        "label_seconds": statistics.mean(manifest.device_seconds for manifest in labels.values()) if labels else 0.0,
        "peak_bytes": cost.peak_bytes if cost else None,
        "device": cost.device if cost else None,
        "image_bytes": round(statistics.mean(sizes)) if sizes else 0,
        "label_bytes": round(statistics.mean(tables)) if tables else 0,
    }


def _agreement(trainings: Mapping[str, Manifest], lookup: Lookup) -> float | None:
    """The share of views whose base label the labelling networks name first, mean over the label tables trained on.

    None for hard labels and those that were found online.
    """
    tables = {digest for manifest in trainings.values() if (digest := manifest.sources.get("labels"))}
    shares = [found.summary.get("base_agreement") for digest in sorted(tables) if (found := lookup(digest))]
    known = [share for share in shares if share is not None]
    return statistics.mean(known) if known else None


def _labeller_bytes(
    store: ArtefactStore, namespace: str, dataset: str, labels: Mapping[str, Manifest], lookup: Lookup
) -> int:
    """Bytes of the weights with which a seed alone makes the soft labels anew; 0 if they are not there.

    Those of the networks that the label tables name (a committee's all together), else of the setting's teacher.
    """
    named = {digest for m in labels.values() for name, digest in m.sources.items() if name not in NOT_LABELLERS}
    found = [manifest for digest in named if (manifest := lookup(digest)) is not None]
    found = found or list(_units(store, store.read_reference(namespace, "teacher", dataset)).values())
    return sum(
        payload.bytes
        for manifest in found
        for name, payload in manifest.payloads.items()
        if name.endswith(".safetensors")
    )


def _published(setting: Setting, cell: tuple[str, int, str, str], score: Mapping[str, Any]) -> dict[str, Any]:
    """RD3's figure (a fraction), its ±, z, and where the paper contradicts itself; never for another network.

    cell: (method, ipc, student, label). All None unless the setting has RD3's resolution and teacher.
    """
    found = published(setting.data, *cell) if rd3_setting(setting) else None
    if found is None:
        return {"published": None, "published_std": None, "z": None, "published_note": ""}
    return {
        "published": found.mean,
        "published_std": found.std,
        "z": published_z(score["accuracy_mean"], score["accuracy_std"], found.mean, found.std),
        "published_note": note(setting.data, *cell),
    }


def _ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ranks within (dataset, ipc, student, label), and among the data-free ones; none for what does not compete.

    Equal accuracies share a rank. `apart` says why a row has none.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["ipc"], row["student"], row["label"]), []).append(row)
    for group in groups.values():
        alike = {row["method"]: row["conditions"] for row in group if row["declared"] and not row["failed"]}
        words = apart(alike) if alike else {}
        for row in group:
            row["apart"] = words.get(row["method"], FAILED) if row["declared"] else OVERRIDDEN
            del row["conditions"], row["failed"]
        competing = [row["accuracy_mean"] for row in group if not row["apart"]]
        free = [row["accuracy_mean"] for row in group if not row["apart"] and row["provenance"] == "data-free"]
        for row in group:
            mean = row["accuracy_mean"]
            row["rank"] = None if row["apart"] else 1 + sum(other > mean for other in competing)
            owes_nothing = not row["apart"] and row["provenance"] == "data-free"
            row["data_free_rank"] = 1 + sum(other > mean for other in free) if owes_nothing else None
    return [row for group in groups.values() for row in sorted(group, key=lambda row: row["rank"] or 10**6)]
