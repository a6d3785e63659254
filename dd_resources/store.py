"""The content-addressed artefact store, on a local folder or S3.

Belongs here: payloads under the digest of their bytes, manifests under their recipe digest, references, the work area,
and the one conditional write that makes a result exist. Does not belong: what the payloads mean, Dagster, torch.

    format.json                                   the store's format version
    payloads/<aa>/<sha256>                        never overwritten, verified on every read
    manifests/<aa>/<recipe digest>.json           published last by put_if_absent
    references/<namespace>/<asset>/<partition>.json
    work/<recipe digest>/...                      checkpoints of unfinished computations
    quarantine/<sha256>                           payloads that no longer matched their digest
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec

from dd_assets.errors import CorruptArtefactError, DDError, FormatVersionError, StoreError
from dd_assets.planning.unit import Manifest, Payload, Product, Reference, Unit

STORE_FORMAT = 1


class ArtefactStore:
    """A store at a folder path or an s3:// URL; cheap to create, opened (and its format checked) on first use."""

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.root = root.rstrip("/")
        self.storage_options = dict(storage_options or {})
        self._local = "://" not in self.root
        if self._local:
            self.root = os.path.abspath(os.path.expanduser(self.root))
        self._checked = False

    @property
    def is_local(self) -> bool:
        """True for a folder on this machine."""
        return self._local

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Translate the file system's errors into one line that names the store and a remedy."""
        try:
            yield
        except DDError:
            raise
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                remedy = "free space on its disk, then run the same command again: nothing committed was lost"
            elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                remedy = "make it writable for this user or set DD_STORE to another place"
            else:
                remedy = "check DD_STORE, the network and the credentials (AWS_* variables), then run again"
            raise StoreError(f"store {self.root}: {doing} failed: {error}", remedy) from error
        except Exception as error:
            # s3fs and botocore have exception families of their own (no credentials, endpoint away…).
            if not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec")):
                raise
            raise StoreError(
                f"store {self.root}: {doing} failed: {error}", "check the endpoint and the AWS_* credentials"
            ) from error

    @property
    def _fs(self) -> Any:
        protocol = "file" if self._local else self.root.split("://", 1)[0]
        return fsspec.filesystem(protocol, **self.storage_options)

    def _path(self, relative: str) -> str:
        return f"{self.root}/{relative}"

    def open(self) -> ArtefactStore:
        """Create the store if it is new; raises StoreError if unusable, FormatVersionError if it is a newer one."""
        if self._checked:
            return self
        with self._errors("opening it"):
            try:
                written = json.loads(self._read("format.json"))["format"]
            except FileNotFoundError:
                self.put_if_absent("format.json", json.dumps({"format": STORE_FORMAT}).encode())
                written = json.loads(self._read("format.json"))["format"]
        if written != STORE_FORMAT:
            raise FormatVersionError(
                f"store {self.root} has format {written}, this version knows {STORE_FORMAT}",
                "use the dd-assets version that wrote it, or set DD_STORE to a new place",
            )
        self._checked = True
        return self

    # Bytes -----------------------------------------------------------------------------------------------------------

    def _read(self, relative: str) -> bytes:
        if self._local:
            with open(self._path(relative), "rb") as file:
                return file.read()
        return self._fs.cat_file(self._path(relative))

    def put_if_absent(self, relative: str, data: bytes) -> bool:
        """Write a file that must not exist yet, durably and all at once; False if somebody else's is there."""
        with self._errors(f"writing {relative}"):
            return self._link_local(relative, data) if self._local else self._create_remote(relative, data)

    def _link_local(self, relative: str, data: bytes) -> bool:
        target = self._path(relative)
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        _sync_folder(folder)
        return True

    def _create_remote(self, relative: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self._path(relative), data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            # s3fs reports the 412 of If-None-Match as EINVAL with this text.
            if "pre-condition" in str(error).lower() or "PreconditionFailed" in str(error):
                return False
            raise
        return True

    def replace(self, relative: str, data: bytes) -> None:
        """Write a file atomically over whatever is there; for references and work files only."""
        with self._errors(f"writing {relative}"):
            if not self._local:
                self._fs.pipe_file(self._path(relative), data)
                return
            target = self._path(relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = f"{os.path.dirname(target)}/.{uuid.uuid4().hex}.tmp"
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, target)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)

    def read_or_none(self, relative: str) -> bytes | None:
        """A file's bytes, or None if it is not there."""
        with self._errors(f"reading {relative}"):
            try:
                return self._read(relative)
            except FileNotFoundError:
                return None

    def remove(self, relative: str) -> None:
        """Delete a file or a folder with everything below it; nothing happens if it is absent."""
        with self._errors(f"removing {relative}"), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(relative), recursive=True)

    def list(self, relative: str) -> list[str]:
        """Paths of all files below a folder, relative to the store, sorted."""
        with self._errors(f"listing {relative}"):
            try:
                found = self._fs.find(self._path(relative))
            except FileNotFoundError:
                return []
        start = len(self._fs._strip_protocol(self.root)) + 1
        return sorted(path[start:] for path in found if not path.rsplit("/", 1)[-1].startswith("."))

    # Manifests and payloads ------------------------------------------------------------------------------------------

    def lookup(self, recipe_digest: str) -> Manifest | None:
        """The manifest of a recipe if it was committed."""
        self.open()
        data = self.read_or_none(_manifest_path(recipe_digest))
        return None if data is None else Manifest.from_json(_parse(data, _manifest_path(recipe_digest)))

    def commit(self, unit: Unit, product: Product, measurements: Mapping[str, Any]) -> Manifest:
        """Publish a product; if another writer was first, its manifest is returned and this product is dropped."""
        self.open()
        payloads = {name: self._put_payload(data) for name, data in product.payloads.items()}
        manifest = Manifest(
            recipe_digest=unit.digest,
            recipe=unit.recipe,
            content=product.content,
            payloads=payloads,
            verdicts=product.verdicts,
            summary=product.summary,
            measurements={**product.measurements, **measurements},
            label=unit.label,
        )
        data = json.dumps(manifest.to_json(), indent=1).encode()
        if self.put_if_absent(_manifest_path(unit.digest), data):
            return manifest
        winner = self.lookup(unit.digest)
        if winner is None:
            raise StoreError(f"store {self.root}: manifest {unit.digest[:12]} vanished", "do not delete during runs")
        return winner

    def _put_payload(self, data: bytes) -> Payload:
        sha256 = hashlib.sha256(data).hexdigest()
        path = _payload_path(sha256)
        if not self.put_if_absent(path, data) and hashlib.sha256(self._read(path)).hexdigest() != sha256:
            self._quarantine(sha256)
            self.put_if_absent(path, data)
        return Payload(sha256=sha256, bytes=len(data))

    def read(self, manifest: Manifest, name: str) -> bytes:
        """A payload's bytes; raises CorruptArtefactError, naming artefact and file, if they are not the promised."""
        payload = manifest.payloads[name]
        data = self.read_or_none(_payload_path(payload.sha256))
        artefact = f"{manifest.label or manifest.recipe['unit']}: payload {name} (recipe {manifest.recipe_digest[:12]})"
        if data is None:
            raise CorruptArtefactError(f"{artefact} is missing from store {self.root}", _recompute(manifest))
        if hashlib.sha256(data).hexdigest() != payload.sha256:
            raise CorruptArtefactError(
                f"{artefact} is corrupted in store {self.root}: its bytes do not hash to {payload.sha256[:12]}",
                _recompute(manifest),
            )
        return data

    def discard(self, manifest: Manifest) -> None:
        """Forget a result so that it is computed again; its payloads go to quarantine if they are damaged."""
        for payload in manifest.payloads.values():
            data = self.read_or_none(_payload_path(payload.sha256))
            if data is not None and hashlib.sha256(data).hexdigest() != payload.sha256:
                self._quarantine(payload.sha256)
        self.remove(_manifest_path(manifest.recipe_digest))

    def _quarantine(self, sha256: str) -> None:
        with self._errors(f"quarantining {sha256[:12]}"):
            self._fs.makedirs(self._path("quarantine"), exist_ok=True)
            self._fs.mv(self._path(_payload_path(sha256)), self._path(f"quarantine/{sha256}-{uuid.uuid4().hex[:8]}"))

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


def _manifest_path(recipe_digest: str) -> str:
    return f"manifests/{recipe_digest[:2]}/{recipe_digest}.json"


def _payload_path(sha256: str) -> str:
    return f"payloads/{sha256[:2]}/{sha256}"


def _reference_path(namespace: str, asset: str, partition: str) -> str:
    return f"references/{namespace}/{asset}/{partition.replace('|', '@') or 'all'}.json"


def _recompute(manifest: Manifest) -> str:
    return f"dd-assets discard {manifest.recipe_digest[:12]}, then run again to recompute it"


def _parse(data: bytes, what: str) -> dict[str, Any]:
    try:
        return json.loads(data)
    except ValueError as error:
        raise CorruptArtefactError(f"{what} is not readable JSON: {error}", "delete that file and run again") from error


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
