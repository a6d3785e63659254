"""Injected resources: where artefacts and raw data lie, and where computations run."""
