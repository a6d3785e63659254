"""Commands in the documentation that no test runs from there, each with the reason.

Belongs here: the list alone, by page (or pattern) and the beginning of a block's first line. An entry whose
block is gone fails a test, so that it cannot outlive its reason.
"""

from __future__ import annotations

from fnmatch import fnmatch

SKIPPED: dict[tuple[str, str], str] = {
    ("README.md", "make demo"): (
        "builds an environment from the network; .ci/run calls make, tests/test_cli.py runs the demo"
    ),
    ("CONTRIBUTING.md", "make install"): (
        "the tests themselves, which .ci/run calls but for `make fuzz` and `make faults`: their last whole runs stand"
        " in docs/results/reliability.md"
    ),
    ("docs/datasets.md", "export DD_DATA_ROOT=/data"): (
        "the reader's own folder; docs/tutorials/your-own-dataset.md does the same with a real one"
    ),
    ("docs/deploy.md", "cp deploy/example.env"): "needs Docker",
    ("docs/deploy.md", "docker compose -f deploy/compose.yaml exec s3"): "needs Docker; weed's own command was tried",
    ("docs/deploy.md", "docker compose -f deploy/compose.yaml run"): "needs Docker",
    ("docs/deploy.md", "pip install -c constraints.txt"): "needs a cluster; tests/dagster_side/test_ray.py starts one",
    ("docs/deploy.md", "export DD_STORE=s3://artefacts/dd DD_EXECUTOR"): "needs a cluster, as above",
    ("docs/studies.md", "dd-assets study rd3_table_6   "): (
        "minutes of training, and CIFAR-10's files; tests/planning/test_studies.py computes a small study"
    ),
    ("docs/sweep.md", "dd-assets sweep digits"): "half an hour; tests/sweeps computes a small sweep twice",
    (
        "docs/methods/*.md",
        "dd-assets sync",
    ): (
        "hours in all; test_examples.py runs one of each family on a small setting, test_pages.py looks the selections"
        " of all up"
    ),
    ("docs/your-own-method.md", "pip install"): (
        "changes the environment; tests/sharing/test_plugins.py does the rest with a package that counts as installed"
    ),
    ("examples/README.md", "dd-assets sync"): "minutes; tests/docs/test_examples.py runs it on a small setting",
    ("examples/nearest_mean/README.md", "pip install"): (
        "changes the environment; tests/sharing/test_plugins.py, as above"
    ),
}


def reason(page: str, first: str) -> str:
    """Why the block with that first line is left out, or ''."""
    return next(
        (why for (where, start), why in SKIPPED.items() if fnmatch(page, where) and first.startswith(start)), ""
    )
