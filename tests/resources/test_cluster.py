"""What a cluster's tasks are given, and one line where there is no cluster; tasks themselves need one (test_ray.py)."""

from __future__ import annotations

import pytest

from dd_assets.errors import InputError
from dd_resources.cluster import Request, forwarded, run_tasks
from tests.servers import free_port


def test_settings_travel_and_secrets_stay() -> None:
    here = (
        "PYTHONPATH",
        "PATH",
        "DD_STORE",
        "DD_API_TOKEN",
        "DD_S3_SECRET",
        "DD_HUB_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "DD_DATASETS",
    )
    assert forwarded(here) == ["DD_DATASETS", "DD_STORE", "PYTHONPATH"]


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:{port}"])
def test_no_cluster_is_one_line_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would ask an address that does not answer for minutes, or start a cluster of its own."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", address.format(port=free_port()))
    with pytest.raises(InputError, match=r"reaches no cluster at .* → run this on a node of the cluster"):
        list(run_tasks(abs, [1], Request(), threads=1, meanwhile=print))
