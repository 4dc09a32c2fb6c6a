"""Health is looked at on each database, told check by check, and changes nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from flowstone import FlowStone, Pipeline, asset
from flowstone.stores.tables import SCHEMA_VERSION, process
from flowstone.testing import isolated_settings


@asset
def orders():
    return 1


@pytest.fixture
def settings(database_url, tmp_path):
    return isolated_settings(tmp_path / "home", project="shop", database_url=database_url)


@pytest.fixture
def flow(settings):
    with FlowStone(Pipeline("shop", [orders]), settings=settings, echo=lambda text: None) as made:
        made.run()
        yield made


@pytest.fixture
def spoil(flow):
    """Change the database by a statement of plain SQL."""

    def run(statement):
        with flow._deployment.reading().backend.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    return run


def told(flow):
    return [(check.name, check.ok) for check in flow.health()]


def rows(flow):
    with flow._deployment.reading().reading() as connection:
        return connection.execute(select(process.c.id, process.c.ended_at)).all()


def test_all_is_well(flow):
    """A database that is reached, of this schema and writable, passes three checks; looking adds and changes no row."""
    before = rows(flow), flow.events(limit=1000)
    found = flow.health()

    assert told(flow) == [("database", True), ("schema", True), ("writable", True)]
    assert found[0].text == flow._deployment.reading().backend.describe
    assert found[1].text == f"{SCHEMA_VERSION}, current"
    assert (rows(flow), flow.events(limit=1000)) == before


def test_no_database_is_not_ready(settings):
    """Before the first run there is no database to work with; asking creates none."""
    with FlowStone(settings=settings) as flow:
        (check,) = flow.health()

        assert (check.name, check.ok) == ("database", False)
        assert "has none of FlowStone's tables" in check.text or "no database yet" in check.text
        assert flow._deployment.is_new()


def test_another_schema_is_not_ready(flow, spoil, settings):
    """A schema of another version is told with the command that upgrades it, whether it changed before or while one looks."""
    spoil("UPDATE alembic_version SET version_num = '0001'")
    with FlowStone(settings=settings) as other:
        for looking in (flow, other):
            assert told(looking) == [("database", True), ("schema", False)]
            assert "0001" in looking.health()[-1].text

    assert "flowstone db upgrade" in flow.health()[-1].text


def test_a_store_that_takes_nothing_is_not_ready(flow, spoil):
    """Where nothing can be written, that check fails alone, in one line, and passes again when it is mended."""
    spoil("ALTER TABLE process RENAME TO elsewhere")
    assert told(flow) == [("database", True), ("schema", True), ("writable", False)]
    assert "\n" not in flow.health()[-1].text

    spoil("ALTER TABLE elsewhere RENAME TO process")
    assert all(check.ok for check in flow.health())


def test_a_standby_is_not_ready(new_postgres_url, tmp_path):
    """A PostgreSQL that only lets one read is not ready, and says so."""
    url = new_postgres_url()
    settings = isolated_settings(tmp_path, database_url=url)
    with FlowStone(Pipeline("shop", [orders]), settings=settings, echo=lambda text: None) as flow:
        flow.run()
        with flow._deployment.reading().backend.engine.begin() as connection:
            name = connection.exec_driver_sql("SELECT current_database()").scalar()
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with FlowStone(settings=settings) as flow:
        assert told(flow) == [("database", True), ("schema", True), ("writable", False)]
        assert "read-only" in flow.health()[-1].text


def test_many_who_ask_at_once_open_one_database(flow, settings):
    """Threads that ask before anything is open, as scrapes do, get one and the same database."""
    with FlowStone(settings=settings) as fresh, ThreadPoolExecutor(8) as pool:
        together = threading.Barrier(8)

        def ask(_):
            together.wait()
            return fresh._deployment.reading()

        assert len(set(map(id, pool.map(ask, range(8))))) == 1
