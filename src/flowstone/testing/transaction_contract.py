"""The part of the store contract about transactions and claims: what holds however many threads and processes there are."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import DatabaseError
from flowstone.ledger.event_log import EventLog
from flowstone.stores import materializations, processes, runs
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION
from flowstone.testing.store_samples import (
    RUN,
    a_run,
    a_run_in,
    at_once,
    note,
    noted,
    say,
)


class Opened:
    """A database for each test."""

    @pytest.fixture
    def url(self) -> str:
        """Return the URL of an empty database."""
        raise NotImplementedError("a subclass of StoreContract needs a fixture `url`")

    @pytest.fixture
    def database(self, url: str) -> Iterator[Database]:
        """The open database, with an event log of the project ``test``."""
        opened = Database(url, Dispatcher(), SystemClock())
        opened.recorders = (EventLog("test"),)
        yield opened
        opened.close()


class TransactionContract(Opened):
    """What holds of transactions."""

    def test_a_transaction_that_fails_leaves_nothing(self, database: Database) -> None:
        """Its rows, its events and what observers would have seen are gone; the next transaction is not disturbed."""
        seen: list[str] = []
        database.dispatcher.attach("seen", AssetInvalidated, lambda happened: seen.append(getattr(happened, "output", "")))

        def fail() -> None:
            with database.transaction() as tx:
                processes.register(tx, "proc_1", "here", 1, 0)
                say(tx, "lost")
                tx.flush()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        note(database, "kept")
        with database.reading() as connection:
            assert processes.not_ended(connection) == []
        assert noted(database) == seen == ["kept"]

    def test_a_statement_that_fails_undoes_the_transaction(self, database: Database) -> None:
        """A statement the database refuses is one clear error, and what came before it in the transaction is undone."""
        row = a_run(database)

        def twice() -> None:
            with database.transaction() as tx:
                say(tx, "lost")
                tx.flush()
                runs.insert(tx, {**RUN, "id": row})

        with pytest.raises(DatabaseError):
            twice()
        assert noted(database) == []
        note(database, "kept")
        assert noted(database) == ["kept"]

    def test_observers_run_when_the_transaction_is_over(self, database: Database) -> None:
        """An observer may change the store itself: it is called after commit, outside the transaction."""

        def answer(happened: Event) -> None:
            if isinstance(happened, AssetInvalidated) and happened.output == "question":
                note(database, f"answer to {noted(database)}")

        database.dispatcher.attach("answer", AssetInvalidated, answer)
        note(database, "question")
        assert noted(database) == ["question", "answer to ['question']"]

    def test_a_transaction_inside_a_transaction_is_refused(self, database: Database) -> None:
        """Nesting in one thread is an error that says so, and so is a question that would not see the open change."""
        with database.transaction() as tx:
            with pytest.raises(DatabaseError, match="already open"), database.transaction():
                pass
            with pytest.raises(DatabaseError, match="a transaction is open"), database.reading():
                pass
            say(tx, "outer")
        assert noted(database) == ["outer"]

    def test_threads_that_contend_lose_nothing(self, database: Database) -> None:
        """Four threads with 100 transactions each: every change is there, each thread's in its order."""

        def work(name: str) -> None:
            for number in range(100):
                note(database, f"{name} {number}")

        at_once(work, "abcd")
        found = noted(database)
        assert len(found) == 400
        for name in "abcd":
            assert [what for what in found if what[0] == name] == [f"{name} {number}" for number in range(100)]

    def test_opening_again_keeps_what_is_there(self, database: Database, url: str) -> None:
        """A database that exists is opened as it is, for writing and for reading."""
        note(database, "kept")
        if database.backend.in_memory:
            return
        for create in (True, False):
            again = Database(url, Dispatcher(), SystemClock(), create=create)
            assert again.schema_version() == SCHEMA_VERSION
            assert noted(again) == ["kept"]
            again.close()


class ClaimContract(Opened):
    """What holds of claims and settlements: one winner."""

    def test_one_of_many_claims_wins(self, database: Database) -> None:
        """Eight runs that claim one asset's partition at the same moment: one is given it, the others are told so."""
        claimants = [a_run(database) for _ in range(8)]
        won: list[int | None] = []

        def claim(run_id: str) -> None:
            with database.transaction() as tx:
                row = materializations.claim_new(tx, "test", run_id, "orders", "")
            won.append(row)

        at_once(claim, claimants)
        assert Counter(row is None for row in won) == {True: 7, False: 1}

    def test_a_claim_holds_until_it_is_settled(self, database: Database) -> None:
        """While one run computes a place another cannot, new or again, and its transaction goes on; afterwards it can."""
        first, second = a_run(database), a_run(database)
        with database.transaction() as tx:
            held = materializations.claim_new(tx, "test", first, "orders", "")
            waiting = materializations.claim_new(tx, "test", second, "rates", "")
        assert held is not None
        assert waiting is not None
        with database.transaction() as tx:
            materializations.settle(tx, held, "retrying")
            assert materializations.claim_new(tx, "test", second, "orders", "") is not None
        with database.transaction() as tx:
            assert not materializations.claim_again(tx, held)
            assert materializations.claim_new(tx, "test", first, "rates", "") is None
            assert materializations.claim_new(tx, "other", a_run_in(tx, "other"), "rates", "") is not None
            say(tx, "went on")
        assert noted(database) == ["went on"]

    def test_one_of_many_second_tries_wins(self, database: Database) -> None:
        """Runs that try the same place again at the same moment: one is given it, and nobody's transaction fails."""
        rows: list[int] = []
        for _ in range(6):
            run_id = a_run(database)
            with database.transaction() as tx:
                row = materializations.claim_new(tx, "test", run_id, "orders", "")
                assert row is not None
                materializations.settle(tx, row, "retrying")
            rows.append(row)
        won: list[bool] = []

        def claim(row: int) -> None:
            with database.transaction() as tx:
                won.append(materializations.claim_again(tx, row))
                say(tx, str(row))

        at_once(claim, rows)
        assert sorted(won) == [False] * 5 + [True]
        assert sorted(noted(database)) == sorted(map(str, rows))

    def test_an_attempt_is_settled_once_and_by_its_process(self, database: Database) -> None:
        """Another process cannot settle it, and its own process cannot settle it twice."""
        run_id = a_run(database)
        with database.transaction() as tx:
            row = materializations.claim_new(tx, "test", run_id, "orders", "")
            assert row is not None
            attempt = materializations.begin_attempt(tx, row, 1, "proc_1", 1)
        with database.transaction() as tx:
            assert not materializations.settle_attempt(tx, attempt, "proc_2", "success", 2, 1)
            assert materializations.settle_attempt(tx, attempt, "proc_1", "success", 2, 1)
            assert not materializations.settle_attempt(tx, attempt, "proc_1", "failed", 3, 1)
            assert materializations.settle(tx, row, "success", output="out_1")
            assert not materializations.settle(tx, row, "failed")
        with database.reading() as connection:
            assert [(a.status, a.ended_at) for a in materializations.attempts_of_run(connection, run_id)] == [("success", 2)]
            assert [(m.status, m.output) for m in materializations.of_run(connection, run_id)] == [("success", "out_1")]

    def test_a_run_moves_once(self, database: Database) -> None:
        """Of many who move a run from the same state one wins, and a run moves only from the state and holder it has."""
        run_id = a_run(database)
        won: list[bool] = []

        def move(process: str) -> None:
            with database.transaction() as tx:
                won.append(runs.move(tx, run_id, "running", "waiting", held="proc_1", outcome={"by": process}))

        at_once(move, [f"proc_{number}" for number in range(6)])
        assert sorted(won) == [False] * 5 + [True]
        with database.transaction() as tx:
            assert not runs.move(tx, run_id, "running", "success", held="proc_1")
            assert not runs.move(tx, run_id, "waiting", "running", held="proc_1")
            assert runs.move(tx, run_id, "waiting", "running", process="proc_2")

    def test_names_that_are_locked_wait(self, database: Database) -> None:
        """Threads that read, wait and write under one locked name do so one after another."""
        values = [0]

        def add(_: int) -> None:
            with database.transaction() as tx:
                tx.lock("counter")
                seen = values[0]
                threading.Event().wait(0.002)
                values[0] = seen + 1

        at_once(add, range(6))
        assert values == [6]
