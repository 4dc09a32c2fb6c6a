"""What the tests of the audit log share: honest histories on both databases, copies of them, and an attacker who edits them."""

from __future__ import annotations

import importlib.util
import itertools
import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from flowstone.stores import append_only

PROGRAM = Path(__file__).parents[2] / "projects" / "auditing.py"
DATABASES = ["sqlite", "postgresql"]


def _load():
    spec = importlib.util.spec_from_file_location("auditing", PROGRAM)
    module = sys.modules["auditing"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


auditing = _load()


class Attacker:
    """Somebody with a database editor: plain SQL on the driver's own connection, as its owner."""

    def __init__(self, dialect, connection) -> None:
        self.dialect, self.connection = dialect, connection

    def run(self, sql, *values):
        """Run one statement; ``?`` stands for values."""
        return self.connection.execute(sql.replace("?", "%s") if self.dialect == "postgresql" else sql, values)

    def rows(self, sql, *values):
        """The rows of a query."""
        return self.run(sql, *values).fetchall()

    def one(self, sql, *values):
        """The only value of a query."""
        return self.run(sql, *values).fetchone()[0]

    @contextmanager
    def unguarded(self):
        """Switch the triggers off, and on again as they were."""
        for statement in append_only.lifted(self.dialect):
            self.run(statement)
        yield
        for statement in append_only.put_back(self.dialect):
            if "audit_pending" not in statement:
                self.run(statement)


@contextmanager
def _editor(world):
    """An attacker on a connection of his own, whose changes stay."""
    if world.url.startswith("sqlite"):
        world.close()
        connection = sqlite3.connect(make_url(world.url).database, isolation_level=None)
        yield Attacker("sqlite", connection)
        connection.close()
        world.open()
        return
    with psycopg.connect(world.url, autocommit=True) as connection:
        yield Attacker("postgresql", connection)


@pytest.fixture(scope="session")
def program():
    """The file of the program that makes honest histories."""
    return PROGRAM


@pytest.fixture
def editor():
    """A function that gives an :class:`Attacker` of a history, as a context manager."""
    return _editor


@pytest.fixture
def make_world(tmp_path):
    """A function that begins an honest history in a database, from a seed."""
    made = []

    def make(url, seed=0, folder=None, **options):
        made[:] = [world for world in made if world.is_open]  # a test that makes thousands keeps none of them
        made.append(auditing.World(url, folder or tmp_path, seed, **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world, database_url):
    """An honest history that has just begun: on SQLite, then on PostgreSQL."""
    return make_world(database_url)


@pytest.fixture(scope="module", params=DATABASES)
def histories(request, tmp_path_factory):
    """Two honest histories of one kind of database, which nobody changes; each attack has a copy of one."""
    made = []
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("history")
        url = f"sqlite:///{folder / 'flowstone.db'}" if server is None else _database(server, f"fs_hist_{seed}_{id(made)}")
        made.append(auditing.World(url, folder, seed).live(60))
        for step in (made[-1].hold, made[-1].decide, made[-1].define, made[-1].fail):
            step()  # there is one of each, whatever the seed
        made[-1].decided()
        made[-1].close()
    yield made
    for world in made if server is not None else ():
        server.execute(f"DROP DATABASE {make_url(world.url).database} WITH (FORCE)")


@contextmanager
def _attacker_of(world):
    """An attacker of an open history, and the connection that sees what he has changed, which is undone in the end."""
    with world.database.backend.engine.connect() as connection:
        driver = connection.connection.driver_connection
        if world.url.startswith("sqlite"):
            driver.execute("BEGIN")
        yield Attacker(make_url(world.url).get_backend_name(), driver), connection
        driver.rollback()


@pytest.fixture
def attacker_of():
    """A function that gives an :class:`Attacker` of a history and his connection, as a context manager; nothing stays."""
    return _attacker_of


_numbers = itertools.count(1)


@pytest.fixture
def copied(tmp_path, request):
    """A function that gives a copy of a history, database and keeper's state."""
    made, server = [], None

    def copy(world):
        nonlocal server
        folder = tmp_path / f"copy{next(_numbers)}"
        folder.mkdir()
        url = make_url(world.url)
        if url.get_backend_name() == "sqlite":
            new = f"sqlite:///{folder / 'flowstone.db'}"
            with sqlite3.connect(url.database) as source, sqlite3.connect(folder / "flowstone.db") as target:
                source.backup(target)
            source.close(), target.close()
        else:
            server = request.getfixturevalue("postgres_server")
            new = _database(server, f"fs_copy_{next(_numbers)}_{id(made)}", url.database)
        made.append(world.copied(new, folder))
        return made[-1]

    yield copy
    for world in made:
        world.close()
        if server is not None:
            server.execute(f"DROP DATABASE IF EXISTS {make_url(world.url).database} WITH (FORCE)")


def _database(server, name, template=None):
    """The URL of a new PostgreSQL database."""
    server.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    info = server.info
    query = {"host": info.host, "port": str(info.port)}
    url = make_url("postgresql://").set(username=info.user, password=info.password or None, database=name, query=query)
    return url.render_as_string(hide_password=False)
