"""Dagster's view of the resources: typed, configurable from the environment or the Launchpad.

Belongs here: ConfigurableResource wrappers (https://docs.dagster.io/guides/build/external-resources).
Does not belong: what they do (store.py, compute.py, raw_data.py), so that workers need no Dagster.
"""

from __future__ import annotations

import os

import dagster as dg
from pydantic import Field

from dd_resources.compute import Compute, exclusive_threads
from dd_resources.execution import piece_request, step_workers
from dd_resources.raw_data import RawData
from dd_resources.references import ReferenceIOManager
from dd_resources.store import ArtefactStore

DEFAULT_STORE = ".dd/store"
NAMESPACE = "default"


class StoreResource(dg.ConfigurableResource):
    """The artefact store (DD_STORE)."""

    root: str = Field(description="A folder, or s3://bucket/prefix; DD_STORE by default.")

    def open(self) -> ArtefactStore:
        """The store, created if new; raises StoreError or FormatVersionError."""
        return ArtefactStore(self.root).open()


class RawDataResource(dg.ConfigurableResource):
    """Raw datasets (DD_DATA_ROOT)."""

    root: str = Field(default="", description="Folder that holds the raw datasets; DD_DATA_ROOT by default.")

    def get(self) -> RawData:
        """The raw data in a form that travels to workers."""
        return RawData(self.root)


class ComputeResource(dg.ConfigurableResource):
    """Device, processes and threads."""

    device: str = Field(default="auto", description="cpu, cuda, cuda:1 or auto.")
    workers: int = Field(default=0, description="Worker processes on a CPU; 0 means one per core.")
    threads: int = Field(default=1, description="Threads per worker; results keep their bits only while it stays.")
    exclusive_threads: int = Field(default=1, description="Threads for work that runs alone, such as a large teacher.")

    def get(self, networks: bool = True) -> Compute:
        """The compute resource in a form that travels to workers; `networks`: whether pieces may ask for GPUs."""
        return Compute(
            device=self.device,
            workers=self.workers,
            threads=self.threads,
            exclusive_threads=self.exclusive_threads,
            request=piece_request(networks),
        )


class ReferenceIOManagerResource(dg.ConfigurableIOManagerFactory):
    """Makes the reference IO manager of a deployment."""

    root: str = Field(description="The artefact store; the same value as the store resource's.")
    namespace: str = Field(default=NAMESPACE, description="Deployments that share a store keep references apart.")

    def create_io_manager(self, context: dg.InitResourceContext) -> ReferenceIOManager:
        """The IO manager of one run."""
        return ReferenceIOManager(ArtefactStore(self.root), self.namespace)


def store_root() -> str:
    """DD_STORE, or the folder .dd/store below the working directory."""
    return os.environ.get("DD_STORE") or os.path.abspath(DEFAULT_STORE)


def default_compute() -> ComputeResource:
    """Every core, or as many as a Kubernetes step asks for; DD_EXCLUSIVE_THREADS for work that runs alone.

    Raises InputError for a value that is no number.
    """
    return ComputeResource(workers=step_workers(), exclusive_threads=exclusive_threads())


def default_resources() -> dict[str, dg.ConfigurableResource | dg.ConfigurableIOManagerFactory]:
    """Resources from the environment."""
    root = store_root()
    return {
        "store": StoreResource(root=root),
        "raw_data": RawDataResource(root=os.environ.get("DD_DATA_ROOT", "")),
        "compute": default_compute(),
        "io_manager": ReferenceIOManagerResource(root=root),
    }
