"""The IO manager that passes references between assets, never tensors.

Belongs here: writing the reference of a materialized partition, and reading it back for a downstream step with the
check that it is the one Dagster recorded (https://docs.dagster.io/guides/build/io-managers).
Does not belong: payloads; assets open those lazily through the store.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.data_version import extract_data_version_from_entry

from dd_assets.errors import StaleReferenceError
from dd_assets.planning.unit import Reference
from dd_resources.store import ArtefactStore

MAY_BE_ABSENT = "dd/may_be_absent"
"""Metadata of an input that not every partition of the downstream asset reads."""


class ReferenceIOManager(dg.IOManager):
    """Hands a `Reference` on within a run; across runs it must equal the data version in Dagster's event log."""

    def __init__(self, store: ArtefactStore, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self._this_run: dict[tuple[str, str, str], Reference] = {}

    def handle_output(self, context: dg.OutputContext, obj: Reference) -> None:
        """Write the partition's reference; the units it names are committed already."""
        self._store.write_reference(self._namespace, obj)
        self._this_run[(context.run_id, obj.asset, obj.partition)] = obj

    def load_input(self, context: dg.InputContext) -> Reference | None:
        """The upstream partition's reference; raises StaleReferenceError if log and store disagree.

        None for one that is not there, where the input's metadata has MAY_BE_ABSENT: then the asset decides.
        """
        asset = "/".join(context.asset_key.path)
        partition = str(context.asset_partition_key) if context.has_asset_partitions else ""
        run_id = context.step_context.run_id
        direct = self._this_run.get((run_id, asset, partition))
        if direct is not None:
            return direct
        stored = self._store.read_reference(self._namespace, asset, partition)
        recorded = _recorded_version(context, partition)
        if (stored is None or recorded is None) and (context.definition_metadata or {}).get(MAY_BE_ABSENT):
            return None
        if stored is None or recorded is None:
            missing = f"store {self._store.root}" if stored is None else "this Dagster instance"
            raise dg.Failure(
                f"{asset} [{partition}] has not been materialized in {missing} → materialize it first,"
                " or run `dd-assets sync`, which adopts what the store already holds",
                allow_retries=False,
            )
        if recorded != stored.content:
            error = StaleReferenceError(
                f"{asset} [{partition}]: Dagster recorded data version {recorded[:12]}, the store's reference says"
                f" {stored.content[:12]}",
                "materialize that asset again so that both agree (another deployment may share the namespace)",
            )
            raise dg.Failure(str(error), allow_retries=False)
        return stored


def _recorded_version(context: dg.InputContext, partition: str) -> str | None:
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=[partition] if partition else None),
        limit=1,
    ).records
    if not records:
        return None
    version = extract_data_version_from_entry(records[0].event_log_entry)
    return None if version is None else version.value
