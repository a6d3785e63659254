"""Commands in the documentation that no test runs from there, each with the reason.

Belongs here: the list alone. An entry whose block is gone fails a test, so that it cannot outlive its reason.
"""

from __future__ import annotations

SKIPPED: dict[tuple[str, str], str] = {
    ("README.md", "make demo    # creates .venv, installs, distils real handwritten digits with four methods, prints a leaderboard"): (
        "builds an environment from the network; .ci/run calls make, tests/test_cli.py runs the demo"
    ),
    ("CONTRIBUTING.md", "make install      # .venv with the tested versions"): "the tests themselves, by .ci/run",
    ("docs/datasets.md", "export DD_DATA_ROOT=/data            # a folder, or s3://bucket/prefix"): (
        "the reader's own folder; docs/tutorials/your-own-dataset.md does the same with a real one"
    ),
    ("docs/deploy.md", "cp deploy/example.env deploy/.env        # change every secret"): "needs Docker",
    ("docs/studies.md", "dd-assets study rd3_table_6                # compute what is missing on digits, print the table"): (
        "minutes of training, and CIFAR-10's files; tests/planning/test_studies.py computes a small study"
    ),
    ("docs/your-own-method.md", "pip install -e my_method"): (
        "changes the environment; tests/sharing/test_plugins.py does the rest with a package that counts as installed"
    ),
    ("examples/nearest_mean/README.md", "pip install -e .                      # beside dd-assets; the entry point in pyproject.toml makes it known"): (
        "changes the environment; tests/sharing/test_plugins.py, as above"
    ),
}
