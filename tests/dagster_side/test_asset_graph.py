"""The asset graph as a snapshot: a change of keys, edges, partitions, groups or checks shows in the diff.

Rewrite it on purpose with `pytest tests/dagster_side/test_asset_graph.py --snapshot-update`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from syrupy.assertion import SnapshotAssertion

PROGRAM = """
import json
from dd_assets.definitions import defs
graph = defs.resolve_asset_graph()
rows = {}
for key in sorted(graph.get_all_asset_keys(), key=str):
    node = graph.get(key)
    rows[key.to_user_string()] = {
        "group": node.group_name,
        "reads": sorted(parent.to_user_string() for parent in node.parent_keys),
        "axes": [d.name for d in getattr(node.partitions_def, "partitions_defs", [])] or bool(node.partitions_def),
        "checks": sorted(check.name for check in node.check_keys),
        "kinds": sorted(node.kinds or ()),
        "tags": {k: v for k, v in sorted(node.tags.items()) if k.startswith("dd/")},
    }
print(json.dumps({"assets": rows, "jobs": sorted(job.name for job in defs.resolve_all_job_defs())}))
"""


def test_the_asset_graph_is_the_recorded_one(snapshot: SnapshotAssertion) -> None:
    # In a process of its own: other tests reload the definitions with further datasets.
    env = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == snapshot


def test_every_asset_can_be_materialized_and_says_who_answers_for_it() -> None:
    """An asset that is only named as an input has no owner and no description, and stands in the UI all the same."""
    from dd_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert [key for key, node in nodes.items() if not node.is_materializable] == []
    assert [key for key, node in nodes.items() if not (node.owners and node.description and node.kinds)] == []
