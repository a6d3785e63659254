"""The dataset and IPC axes and their grid, one shared object each.

Belongs here: partition definitions (https://docs.dagster.io/guides/build/partitions-and-backfills).
Does not belong: which settings exist (datasets/registry.py). Mappings are inferred only between equal objects.
"""

from __future__ import annotations

import dagster as dg

from dd_assets.datasets.registry import ipc_values, settings

dataset_axis = dg.StaticPartitionsDefinition(list(settings()))
ipc_axis = dg.StaticPartitionsDefinition([str(ipc) for ipc in ipc_values()])
grid = dg.MultiPartitionsDefinition({"dataset": dataset_axis, "ipc": ipc_axis})

SPACES: dict[str, dg.PartitionsDefinition] = {"dataset": dataset_axis, "grid": grid}
