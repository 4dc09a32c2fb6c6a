"""The obligations of the store on every database, as tests to inherit.

Write ``class TestMine(StoreContract)`` with a fixture ``url`` that names an empty database. What is proved here is what the
engine relies on: one winner of each claim, no record without its evidence, a cursor that neither misses nor repeats.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import DatabaseError, NotFoundError, UsageError
from flowstone.ledger.event_log import EventLog
from flowstone.stores import errors, events, lineage, logs, materializations, outputs, pipelines, processes, runs
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION
from flowstone.testing.store_samples import (
    LINE,
    ODD_TEXTS,
    RUN,
    a_run,
    a_run_in,
    an_error,
    an_output,
    at_once,
    events_end,
    note,
    noted,
    paged,
    say,
)


class _Opened:
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


class TransactionContract(_Opened):
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


class ClaimContract(_Opened):
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


class RecordContract(_Opened):
    """What holds of outputs, lineage, events and errors."""

    def test_versions_count_up_whoever_adds_them(self, database: Database) -> None:
        """Threads that add outputs of one place at the same moment get the versions 1, 2, 3 and so on, each once."""

        def add(_: int) -> None:
            for _ in range(3):
                with database.transaction() as tx:
                    an_output(tx, "orders", "")

        at_once(add, range(4))
        with database.reading() as connection:
            found = outputs.versions(connection, "test", "orders", "")
        assert [record.version for record in found] == list(range(12, 0, -1))

    def test_the_current_output_is_the_one_pointed_to(self, database: Database) -> None:
        """A pointer moves, is withdrawn only if it still points there, and is its project's own."""
        with database.transaction() as tx:
            first, second = an_output(tx, "orders", "a"), an_output(tx, "orders", "a")
            outputs.point(tx, "test", "orders", "a", first)
            outputs.point(tx, "test", "orders", "a", second)
        with database.reading() as connection:
            found = outputs.current(connection, "test", "orders", "a")
            assert found is not None
            assert found.id == second
            assert outputs.current(connection, "other", "orders", "a") is None
        with database.transaction() as tx:
            assert not outputs.withdraw(tx, "test", "orders", "a", first)
            assert outputs.withdraw(tx, "test", "orders", "a", second)
        with database.reading() as connection:
            assert outputs.current_of(connection, "test") == {}

    def test_lineage_is_walked_both_ways(self, database: Database) -> None:
        """From an output every output it was made from is reached once, and the other way round, through a diamond."""
        with database.transaction() as tx:
            top, left, right, bottom = (an_output(tx, name, "") for name in ("top", "left", "right", "bottom"))
            for downstream, upstream in ((left, top), (right, top), (bottom, left), (bottom, right)):
                lineage.add(tx, downstream, upstream, upstream)
        with database.reading() as connection:
            up = [(edge.downstream, edge.upstream) for edge in lineage.walk(connection, bottom)]
            down = [(edge.downstream, edge.upstream) for edge in lineage.walk(connection, top, down=True)]
        assert sorted(up) == sorted(down) == sorted([(left, top), (right, top), (bottom, left), (bottom, right)])

    def test_partitions_are_in_one_order_everywhere(self, database: Database) -> None:
        """Texts are sorted by code point, whatever the language of the database."""
        keys = ["a", "B", "_", "Z", "é", "ä", "0", "s:QQ", "d:2026-01-01", "😀"]
        with database.transaction() as tx:
            for key in keys:
                outputs.point(tx, "test", "orders", key, an_output(tx, "orders", key))
        with database.reading() as connection:
            assert outputs.partitions_of(connection, "test", "orders") == sorted(keys)

    def test_the_cursor_pages_without_gaps(self, database: Database) -> None:
        """Pages of any size, joined, are the whole log once, also when others write between two pages."""
        expected = [f"{number}" for number in range(20)]
        for what in expected:
            note(database, what)
        for size in (1, 7, 20):
            assert paged(database, size) == expected
            expected.append("late")
            note(database, "late")
        assert paged(database, 50) == expected
        assert noted(database, after=events_end(database)) == []

    def test_a_text_that_is_no_cursor_is_refused(self, database: Database) -> None:
        """A cursor is taken as it was given; anything else is one clear error."""
        for text in ("x", "", "-1", "1.5", "1;2", "²"):
            with pytest.raises(UsageError, match="no cursor"):
                noted(database, after=text)

    def test_events_are_found_by_what_they_say(self, database: Database) -> None:
        """By name, by the beginning of a name, by asset (exactly, not by what a text quotes), up to a limit."""
        with database.transaction() as tx:
            say(tx, "one", "orders")
            say(tx, '{"asset":"orders"}', "Orders")
            say(tx, "three", "orders_2")
            say(tx, "four", "orders")
        assert noted(database, asset="orders") == ["one", "four"]
        assert noted(database, asset="orders", limit=1) == ["one"]
        assert noted(database, asset="rders") == []
        assert len(noted(database, names=("flowstone.asset.*",), limit=3)) == 3
        assert noted(database, names=("flowstone.asset", "flowstone_asset.*")) == []
        assert noted(database, names=("x", "flowstone.asset.invalidated")) == noted(database)

    def test_projects_do_not_see_each_other(self, database: Database) -> None:
        """Events, runs, errors, pipelines and outputs of one project are not another's."""
        note(database, "mine")
        run_id = a_run(database)
        with database.transaction() as tx:
            pipelines.remember(tx, "test", "p", "d", {}, 1)
            outputs.point(tx, "test", "orders", "", an_output(tx, "orders", ""))
            an_error(tx, "err_1", run_id)
        with database.reading() as connection:
            assert len(events.read(connection, "test")) == 1
            assert events.read(connection, "other") == []
            assert runs.recent(connection, "other") == []
            assert errors.read(connection, "other") == []
            assert pipelines.newest(connection, "other") == []
            assert outputs.current_of(connection, "other") == {}
            with pytest.raises(NotFoundError):
                runs.find(connection, "other", run_id)

    def test_a_record_is_found_by_the_beginning_of_its_id(self, database: Database) -> None:
        """As long as one record has it; signs that stand for others in a pattern stand for themselves."""
        with database.transaction() as tx:
            run_id = a_run_in(tx, "test")
            for id in ("err_a1", "err_a2", "err_b1"):
                an_error(tx, id, run_id)
        with database.reading() as connection:
            assert errors.find(connection, "test", "err_b").id == "err_b1"
            for wrong in ("err_a", "err%", "errxb1", "err_b1x", "ERR_B"):
                with pytest.raises(NotFoundError):
                    errors.find(connection, "test", wrong)

    def test_errors_are_cured_by_a_later_attempt(self, database: Database) -> None:
        """A success notes itself on the errors before it, and on no other place's."""
        with database.transaction() as tx:
            run_id = a_run_in(tx, "test")
            an_error(tx, "err_1", run_id)
            an_error(tx, "err_2", run_id, asset="rates")
            errors.cure(tx, run_id, "orders", "", 3)
        with database.reading() as connection:
            assert {error.id: error.cured for error in errors.read(connection, "test")} == {"err_1": 3, "err_2": 0}

    def test_a_definition_is_stored_once(self, database: Database) -> None:
        """Threads that remember one definition at the same moment store one row, and one of them is told it is new."""
        new: list[bool] = []

        def remember(at: int) -> None:
            with database.transaction() as tx:
                new.append(pipelines.remember(tx, "test", "p", "digest", {"assets": []}, at))

        at_once(remember, range(5))
        assert sorted(new) == [False] * 4 + [True]

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text)[:20])
    def test_no_text_undoes_a_record(self, database: Database, text: str) -> None:
        """Strange texts are stored in rows, log lines and events, as they are or with what no database holds escaped."""
        with database.transaction() as tx:
            run_id = a_run_in(tx, "test")
            row = materializations.claim_new(tx, "test", run_id, "orders", "")
            assert row is not None
            materializations.settle(tx, row, "failed", reason="ValueError", message=text)
            logs.add(tx, {**LINE, "run_id": run_id, "message": text, "logger": text})
            an_error(tx, "err_1", run_id, message=text)
            say(tx, text)
        with database.reading() as connection:
            told = [materializations.of_run(connection, run_id)[0].message, logs.read(connection, run_id)[0].message]
            told += [errors.read(connection, "test")[0].message, events.read(connection, "test")[0].payload["output"]]
        escaped = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
        assert set(told) <= {text, escaped}


class StoreContract(TransactionContract, ClaimContract, RecordContract):
    """What holds on every database; override ``url``."""
