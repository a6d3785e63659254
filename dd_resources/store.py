"""The content-addressed artefact store, on a local folder or S3.

Belongs here: payloads under the digest of their bytes, manifests under their recipe digest, references, the work area,
and the commit that makes a result exist. Does not belong: how bytes reach a disk or a server (files.py), who may
compute (leases.py), what the payloads mean, Dagster, torch.

    format.json                                   the store's format version
    payloads/<aa>/<sha256>                        never overwritten, verified on every read
    manifests/<aa>/<recipe digest>.json           published last by put_if_absent
    alternatives/<recipe digest>/<content>.json   other results of the same recipe, kept beside the one in use
    references/<namespace>/<asset>/<partition>.json
    work/<recipe digest>/...                      checkpoints of unfinished computations (planning/checkpoints.py)
    lease/<recipe digest>/<n>                     who is computing (leases.py)
    pins/<name>.json                              recipes that gc keeps (planning/gc.py)
    quarantine/<sha256>-<random>                  payloads that no longer matched their digest
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Container, Mapping
from typing import Any

from dd_assets.errors import CorruptArtefactError, FormatVersionError, StoreError
from dd_assets.planning.unit import Manifest, Payload, Product, Reference, Unit
from dd_resources.files import Files

STORE_FORMAT = 1
ALTERNATIVES = "alternatives"


class ArtefactStore(Files):
    """A store at a folder path or an s3:// URL; cheap to create, opened (and its format checked) on first use."""

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, storage_options)
        self._checked = False

    def open(self, create: bool = True) -> ArtefactStore:
        """Create the store if it is new; raises StoreError if unusable, FormatVersionError if it is a newer one.

        Without `create` a place that holds no store is a StoreError, and nothing is written there.
        """
        if self._checked:
            return self
        data = self.read_or_none("format.json")
        if data is None and not create:
            raise StoreError(f"there is no store at {self.root}", "correct the address; a store has a file format.json")
        if data is None:
            mine = json.dumps({"format": STORE_FORMAT}).encode()
            data = mine if self.put_if_absent("format.json", mine) else self.read_or_none("format.json")
        written = _parse(data or b"", "format.json").get("format")
        if written != STORE_FORMAT:
            raise FormatVersionError(
                f"store {self.root} has format {written}, this version knows {STORE_FORMAT}",
                "use the dd-assets version that wrote it, or set DD_STORE to a new place",
            )
        self._checked = True
        return self

    # Manifests and payloads ------------------------------------------------------------------------------------------

    def lookup(self, recipe_digest: str) -> Manifest | None:
        """The manifest of a recipe if it was committed."""
        self.open()
        data = self.read_or_none(manifest_path(recipe_digest))
        return None if data is None else Manifest.from_json(_parse(data, manifest_path(recipe_digest)))

    def commit(self, unit: Unit, product: Product, measurements: Mapping[str, Any]) -> Manifest:
        """Publish a product; if another writer was first, its manifest is returned and this product is dropped."""
        manifest = self._put_payloads(unit, product, measurements)
        if self.put_if_absent(manifest_path(unit.digest), manifest_bytes(manifest)):
            return manifest
        winner = self.lookup(unit.digest)
        if winner is None:
            raise StoreError(f"store {self.root}: manifest {unit.digest[:12]} vanished", "do not delete during runs")
        return winner

    def keep_beside(self, unit: Unit, product: Product, measurements: Mapping[str, Any]) -> Manifest:
        """Keep another result of a committed recipe under its own content; the committed one stays the one in use."""
        manifest = self._put_payloads(unit, product, measurements)
        self.put_if_absent(alternative_path(unit.digest, product.content), manifest_bytes(manifest))
        return manifest

    def alternatives(self, recipe_digest: str) -> list[Manifest]:
        """Other results of a recipe that were kept, by content."""
        self.open()
        paths = self.list(f"{ALTERNATIVES}/{recipe_digest}")
        found = [(path, data) for path in paths if (data := self.read_or_none(path)) is not None]
        return [Manifest.from_json(_parse(data, path)) for path, data in found]

    def _put_payloads(self, unit: Unit, product: Product, measurements: Mapping[str, Any]) -> Manifest:
        """Store a product's files; returns the manifest that names them, which is not published yet."""
        self.open()
        return Manifest(
            recipe_digest=unit.digest,
            recipe=unit.recipe,
            content=product.content,
            payloads={name: self.put_payload(data) for name, data in product.payloads.items()},
            verdicts=product.verdicts,
            summary=product.summary,
            measurements={**product.measurements, **measurements},
            label=unit.label,
            sources=dict(unit.sources),
            setting=unit.setting,
        )

    def put_payload(self, data: bytes) -> Payload:
        """Keep bytes under their digest; damaged ones that lie there give way to them. Raises StoreError."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = payload_path(sha256)
        if self.put_if_absent(path, data):
            return Payload(sha256=sha256, bytes=len(data))
        there = self.read_or_none(path)
        if there is not None and hashlib.sha256(there).hexdigest() != sha256:
            self._quarantine(sha256)
            there = None
        if there is None:
            self.put_if_absent(path, data)
        return Payload(sha256=sha256, bytes=len(data))

    def read(self, manifest: Manifest, name: str) -> bytes:
        """A payload's bytes; raises CorruptArtefactError, naming artefact and file, if they are not the promised."""
        payload = manifest.payloads[name]
        data = self.read_or_none(payload_path(payload.sha256))
        artefact = f"{manifest.label or manifest.recipe['unit']}: payload {name} (recipe {manifest.recipe_digest[:12]})"
        if data is None:
            raise CorruptArtefactError(f"{artefact} is missing from store {self.root}", _recompute(manifest))
        if hashlib.sha256(data).hexdigest() != payload.sha256:
            raise CorruptArtefactError(
                f"{artefact} is corrupted in store {self.root}: its bytes do not hash to {payload.sha256[:12]}",
                _recompute(manifest),
            )
        return data

    def lost(self, manifest: Manifest, present: Container[str] = ()) -> list[str]:
        """Names of a manifest's payloads that are no longer there; `present` spares a look at those known to be."""
        return [
            name
            for name, payload in manifest.payloads.items()
            if payload.sha256 not in present and not self.exists(payload_path(payload.sha256))
        ]

    def discard(self, manifest: Manifest) -> None:
        """Forget a result so that it is computed again; its payloads go to quarantine if they are damaged."""
        for payload in manifest.payloads.values():
            data = self.read_or_none(payload_path(payload.sha256))
            if data is not None and hashlib.sha256(data).hexdigest() != payload.sha256:
                self._quarantine(payload.sha256)
        self.remove(manifest_path(manifest.recipe_digest))

    def _quarantine(self, sha256: str) -> None:
        self.move(payload_path(sha256), f"quarantine/{sha256}-{uuid.uuid4().hex[:8]}")

    # References ------------------------------------------------------------------------------------------------------

    def write_reference(self, namespace: str, reference: Reference) -> None:
        """Point an asset partition of a deployment at its units."""
        self.open()
        data = json.dumps(reference.to_json(), indent=1).encode()
        path = _reference_path(namespace, reference.asset, reference.partition)
        if self.read_or_none(path) != data:
            self.replace(path, data)

    def read_reference(self, namespace: str, asset: str, partition: str) -> Reference | None:
        """What an asset partition points at, or None."""
        self.open()
        data = self.read_or_none(_reference_path(namespace, asset, partition))
        return None if data is None else Reference.from_json(_parse(data, f"reference {asset} {partition}"))

    def referenced(self, namespace: str) -> set[tuple[str, str]]:
        """(asset, partition) of every reference of a deployment, by one listing: a look for each would be a request."""
        self.open()
        folder = f"references/{namespace}/"
        stems = [path.removeprefix(folder).removesuffix(".json") for path in self.list(folder[:-1])]
        pairs = [stem.rpartition("/")[::2] for stem in stems]
        return {(asset, "" if name == "all" else name.replace("@", "|")) for asset, name in pairs}


def manifest_path(recipe_digest: str) -> str:
    """Where a recipe's manifest lies."""
    return f"manifests/{recipe_digest[:2]}/{recipe_digest}.json"


def alternative_path(recipe_digest: str, content: str) -> str:
    """Where another result of a recipe lies."""
    return f"{ALTERNATIVES}/{recipe_digest}/{content}.json"


def payload_path(sha256: str) -> str:
    """Where the payload of that sha256 lies."""
    return f"payloads/{sha256[:2]}/{sha256}"


def _reference_path(namespace: str, asset: str, partition: str) -> str:
    return f"references/{namespace}/{asset}/{partition.replace('|', '@') or 'all'}.json"


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as its file."""
    return json.dumps(manifest.to_json(), indent=1).encode()


def _recompute(manifest: Manifest) -> str:
    return f"dd-assets discard {manifest.recipe_digest[:12]}, then run again to recompute it"


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON, and is never written here")


def _parse(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CorruptArtefactError(f"{what} is not readable JSON: {error}", "delete that file and run again") from error
    if not isinstance(found, dict):
        raise CorruptArtefactError(f"{what} holds no JSON object", "delete that file and run again")
    return found
