"""Moving results between stores, with everything they were made from.

Belongs here: which manifests, payloads and references belong to a set of asset partitions, and copying them in an
order that never leaves a name without its file. Does not belong: plain files for others (sharing/export.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dd_assets.errors import CorruptArtefactError, InputError
from dd_assets.planning.digests import text_digest
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.plan import Target
from dd_assets.planning.unit import Manifest, Reference
from dd_resources.store import ArtefactStore, manifest_bytes, manifest_path


@dataclass(kw_only=True)
class Transferred:
    """What a transfer did."""

    references: int = 0
    """Written, or there already and equal."""
    kept: list[Target] = field(default_factory=list)
    """Asset partitions that point at something else there; neither they nor their units were sent."""
    units: int = 0
    already: int = 0
    """Units that the destination had, with all their files."""
    bytes: int = 0
    """Of the payloads that the destination lacked."""


def transfer(
    source: ArtefactStore,
    destination: ArtefactStore,
    references: Iterable[Reference],
    namespace: str,
    announce: Callable[[str], None] = lambda line: None,
    replace: bool = False,
) -> Transferred:
    """Copy these asset partitions' units and all that went into them; their digests stay what they are.

    Payloads are checked against their digests as they are read, recipes against theirs; a unit's inputs go before it,
    its payloads before its manifest, references last. What the destination has is not sent again, so an interrupted
    transfer goes on where it was; a unit that lost files there is. Raises InputError for a unit that the source lacks
    or that the destination holds with another content, CorruptArtefactError for damaged bytes; nothing that was there
    and whole is changed, but with `replace` references that point at something else.
    """
    chosen, done = [], Transferred()
    for reference in references:
        own = None if replace else destination.read_reference(namespace, reference.asset, reference.partition)
        if own is None or own == reference:
            chosen.append(reference)
        else:
            done.kept.append((reference.asset, reference.partition))
    for manifest in _upstream_first(source, chosen):
        there = destination.lookup(manifest.recipe_digest)
        if there is None or (there.content == manifest.content and destination.lost(there)):
            done.bytes += _send(source, destination, manifest)
            done.units += 1
            announce(f"{manifest.label or manifest.recipe['unit']} ({manifest.recipe_digest[:12]})")
        elif there.content != manifest.content:
            raise InputError(
                f"{manifest.label}: store {destination.root} holds recipe {manifest.recipe_digest[:12]} with another"
                f" content, {there.content[:12]} and not {manifest.content[:12]}",
                "`dd-assets verify` says which of the two this machine computes; discard the other there",
            )
        else:
            done.already += 1
    for reference in chosen:
        destination.write_reference(namespace, reference)
        done.references += 1
    return done


def references_behind(source: ArtefactStore, namespace: str, targets: Iterable[Target]) -> list[Reference]:
    """The references of these asset partitions and of all they read, upstream first; those that were never made are
    left out."""
    found: dict[Target, Reference] = {}

    def visit(target: Target) -> None:
        reference = source.read_reference(namespace, *target)
        if target in found or reference is None:
            return
        cell = Cell.of(target[1])
        for asset in stage(target[0]).reads(cell):
            visit((asset, cell.partition if stage(asset).space == "grid" else cell.setting.name))
        found[target] = reference

    for target in targets:
        visit(target)
    return list(found.values())


def _upstream_first(source: ArtefactStore, references: Iterable[Reference]) -> list[Manifest]:
    """Every unit behind the references, inputs before what was made from them."""
    found: dict[str, Manifest] = {}
    ordered: list[Manifest] = []
    stack = [(digest, False) for reference in references for digest in reference.units.values()]
    while stack:
        digest, expanded = stack.pop()
        if expanded:
            ordered.append(found[digest])
        elif digest not in found:
            manifest = found[digest] = _checked(source, digest)
            stack.append((digest, True))
            stack += [(upstream, False) for upstream in manifest.sources.values() if upstream not in found]
    return ordered


def _checked(source: ArtefactStore, digest: str) -> Manifest:
    manifest = source.lookup(digest)
    if manifest is None:
        raise InputError(
            f"unit {digest[:12]} is not in store {source.root}", "sync there first, or transfer from where it was made"
        )
    if text_digest(manifest.recipe) != digest or manifest.recipe_digest != digest:
        raise CorruptArtefactError(
            f"manifest {digest[:12]} of store {source.root} states a recipe with another digest",
            f"dd-assets discard {digest[:12]} there",
        )
    return manifest


def _send(source: ArtefactStore, destination: ArtefactStore, manifest: Manifest) -> int:
    lacked = destination.lost(manifest)
    for name in manifest.payloads:
        # What is there already is read back: damaged bytes go to quarantine, and nothing is pointed at unverified.
        destination.put_payload(source.read(manifest, name))
    past = destination.lookup(manifest.recipe_digest)
    if past is not None and past.payloads != manifest.payloads and destination.lost(past):
        # It names files that are gone, and would win over the one that comes.
        destination.discard(past)
    destination.put_if_absent(manifest_path(manifest.recipe_digest), manifest_bytes(manifest))
    return sum(manifest.payloads[name].bytes for name in lacked)
