"""Pre-trained generators of the Hugging Face hub, by way of its cache.

Belongs here: how a setting names one, finding its snapshot in the cache, fetching it where that is allowed, refusals of
all three; light, no torch. Does not belong: what a snapshot must hold (layout.py), loading it (folders.py).
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from dd_assets.diffusion.layout import INDEX, generator_files, generator_patterns
from dd_assets.diffusion.registry import PretrainedFolder
from dd_assets.errors import InputError
from dd_assets.fetching import DOWNLOADS, in_short, may_fetch

SCHEME = "hub:"
NAME = re.compile(r"(?!.*(?:--|\.\.|\.git$))(?=.{3,96}$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubSource:
    """A repository at one commit."""

    repository: str
    revision: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository} at revision {self.revision}"

    @property
    def remedy(self) -> str:
        """What helps whoever may not or cannot fetch it here."""
        download = f"hf download {self.repository} --revision {self.revision}"
        return (
            f"put it into the cache of the hub ({download}, where there is a network), set {DOWNLOADS}=1 to have it"
            " fetched, or give a local folder (docs/generators.md)"
        )


def hub_source(stated: PretrainedFolder) -> HubSource | None:
    """What a `folder` of the form "hub:owner/name" means, or None for a local one.

    Raises InputError for a repository that cannot be one, or one whose `revision` is no full commit.
    """
    if not stated.folder.startswith(SCHEME):
        return None
    repository = stated.folder.removeprefix(SCHEME)
    if not NAME.fullmatch(repository):
        raise InputError(f"{stated.folder!r} names no repository", f"write {SCHEME}owner/name")
    if not COMMIT.fullmatch(stated.revision):
        raise InputError(
            f"revision {stated.revision!r} of {stated.folder} is no commit",
            "state all 40 hexadecimal digits of one: a branch or tag may be another generator tomorrow",
        )
    return HubSource(repository, stated.revision, stated.variant)


def ready(source: HubSource) -> bool:
    """Whether the cache holds all its files; False where they may be fetched.

    Raises InputError where the cache lacks some and nothing may be fetched.
    """
    path = _cached(source)
    lacking = "is not in the cache of this machine" if path is None else _lacking(source, path)
    if lacking and not may_fetch():
        raise InputError(f"{source} {lacking}", source.remedy)
    return not lacking


def snapshot(source: HubSource) -> Path:
    """The folder of its files in the cache; what is missing is fetched.

    Raises InputError where it may not be, cannot be, or the repository does not have it.
    """
    path = _cached(source) if ready(source) else None
    return path or _fetch(source)


def _cached(source: HubSource) -> Path | None:
    """The snapshot's folder if at least its index is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.repository, INDEX, revision=source.revision)
    return Path(found).parent if isinstance(found, str) else None


def _lacking(source: HubSource, path: Path) -> str:
    """What the snapshot lacks, in words, or ''; raises InputError for another pipeline, which no fetching mends."""
    generator_patterns(path, source.variant)
    try:
        generator_files(path, source.variant)
    except InputError as error:
        return f"is incomplete in the cache: {error.problem}"
    return ""


def _fetch(source: HubSource) -> Path:
    """The folder of the snapshot once everything that a generator consists of was asked for, and nothing else."""
    path = _download(source, [INDEX])
    if not (path / INDEX).is_file():
        raise InputError(f"{source} has no {INDEX}", "name a repository in diffusers' layout")
    path = _download(source, generator_patterns(path, source.variant))
    lacking = _lacking(source, path)
    if lacking:
        raise InputError(
            f"{source}, after fetching, {lacking}",
            "only safetensors are read: name a revision or `variant` that has them; delete from the cache what broke"
            " off, and see that the hub can be reached",
        )
    return path


def _download(source: HubSource, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=patterns))
    except Exception as error:
        # Their errors have no common root: some are of the HTTP client, which has changed between versions.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        problem, remedy = _why(error)
        raise InputError(f"{source} cannot be fetched: {problem}", remedy or source.remedy) from error


def _why(error: Exception) -> tuple[str, str]:
    """What a failed download means, and what helps where that is not the usual."""
    from huggingface_hub import errors

    answers = [getattr(cause, "response", None) for cause in (error, error.__cause__)]
    statuses = {getattr(answer, "status_code", 0) for answer in answers}
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such commit", "copy the commit from the repository's history"
    if isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
        return (
            "the hub has no such repository, or it is private",
            "correct the name, log in (hf auth login), or give a local folder",
        )
    if isinstance(error, errors.GatedRepoError) or statuses & {401, 403}:
        return (
            "the hub gives it only to whoever was granted access",
            "ask for access on the repository's page and log in (hf auth login), or give a local folder",
        )
    if isinstance(error, errors.LocalEntryNotFoundError | ConnectionError):
        return f"the hub cannot be reached ({in_short(error)})", ""
    return in_short(error) or type(error).__name__, ""
