"""The obligations of the store on every database, as tests to inherit.

Write ``class TestMine(StoreContract)`` with a fixture ``url`` that names an empty database. What is proved here is what the
engine relies on: one winner of each claim, no record without its evidence, a cursor that neither misses nor repeats.
"""

from __future__ import annotations

import pytest

from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.stores import errors, events, lineage, logs, materializations, outputs, pipelines, runs
from flowstone.stores.database import Database
from flowstone.testing.store_samples import (
    LINE,
    ODD_TEXTS,
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
from flowstone.testing.transaction_contract import ClaimContract, Opened, TransactionContract


class RecordContract(Opened):
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
