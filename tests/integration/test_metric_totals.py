"""Metrics tell what the store has: every ending is counted once, whoever folds, however often, whatever was pruned or moved."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text

from flowstone import (
    Count,
    Event,
    FlowStone,
    GiveUp,
    Label,
    Metric,
    Pipeline,
    Retry,
    RetryLater,
    asset,
    event,
    source,
)
from flowstone.app.backups import restore
from flowstone.execution.run import Actor
from flowstone.foundation.clock import DAY
from flowstone.foundation.errors import DatabaseError
from flowstone.foundation.setting_groups import MetricSettings, RetentionSettings
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.metrics.definitions import OVERFLOW
from flowstone.stores import series
from flowstone.testing import MovableClock, isolated_flow, isolated_settings


@event("test.book.lent")
class BookLent(Event, frozen=True, kw_only=True):
    """A book was lent."""

    title: Label
    pages: Count = 0


LENT = Metric.counter("acme_books_lent_total", BookLent, labels=["title"])
PAGES = Metric.sum("acme_pages_lent_total", BookLent, measurement="pages")


def samples(flow, name):
    """The samples of one metric by their labels."""
    family = next(family for family in flow.metrics() if family.name == name)
    return {sample.labels: sample for sample in family.samples}


def values(flow, name):
    return {labels: sample.value for labels, sample in samples(flow, name).items()}


@asset
def fine():
    return 1


def one_asset(name, metrics=()):
    """A pipeline of one asset of that name that is computed again in every run."""
    return Pipeline(name, [asset(name=name, source=True)(lambda: 1)], metrics=metrics)


@pytest.fixture
def library(tmp_path, database_url):
    """A FlowStone whose pipeline counts books; it has run once."""
    with isolated_flow(one_asset("library", [LENT, PAGES]), home=tmp_path, database_url=database_url) as flow:
        assert flow.run().ok
        yield flow


# -- every ending ----------------------------------------------------------------------------------------------------------


def test_every_ending_is_told_as_the_store_has_it(tmp_path, database_url, check_totals):
    """Success, reuse, retries, postponed tries, failures, both kinds of skip, an observed source and a cancelled run."""
    tries = {"retried": 0, "later": 0}

    @asset(retries=Retry(attempts=3, delay=0))
    def retried():
        tries["retried"] += 1
        if tries["retried"] < 3:
            raise TimeoutError("not yet")
        return 1

    @asset
    def later():
        tries["later"] += 1
        if tries["later"] == 1:
            raise RetryLater(0.001)
        return 1

    @asset(retries=Retry(attempts=2, delay=0))
    def broken(fine):
        raise ValueError("no")

    @asset
    def gone():
        raise GiveUp("never")

    @asset
    def unwanted(ctx):
        ctx.skip("nothing new")

    @asset
    def behind(broken):
        return 1

    assets = [fine, retried, later, broken, gone, unwanted, behind, source("rates", version=lambda: "1")]
    with isolated_flow(Pipeline("p", assets), home=tmp_path, database_url=database_url) as flow:
        flow.run()
        flow.run()
        told = check_totals(flow)
        cured = values(flow, "flowstone_materialization_cured_by_retry_total")
        seen = values(flow, "flowstone_asset_last_success_timestamp_seconds")

    ended = {labels[:2] for labels in told["flowstone_materialization_total"]}
    assert {("fine", "success"), ("fine", "reused"), ("rates", "success"), ("rates", "reused"), ("retried", "success")} <= ended
    assert told["flowstone_materialization_total"][("behind", "skipped", "upstream_failed")] == 2
    assert told["flowstone_materialization_total"][("unwanted", "skipped", "by_code")] == 2
    assert told["flowstone_materialization_attempts_total"][("retried", "failed")] == 2
    assert told["flowstone_materialization_attempts_total"][("later", "failed")] == 1
    assert told["flowstone_error_total"][("broken", "ValueError", "true")] == 4
    assert cured[("retried",)] == 2
    assert set(seen) == {("fine",), ("rates",), ("retried",), ("later",)}


def test_what_a_cancelled_run_had_begun_is_counted_as_cancelled(tmp_path, database_url, check_totals):
    """A step that was to be tried again ends with its run, in the record too; one that never began has no ending."""

    @asset
    def stops(fine):
        raise KeyboardInterrupt

    @asset
    def never(stops):
        return 1

    with isolated_flow(Pipeline("p", [fine, stops, never]), home=tmp_path, database_url=database_url) as flow:
        with pytest.raises(KeyboardInterrupt) as interrupted:
            flow.run()
        check_totals(flow)
        waiting = values(flow, "flowstone_run_waiting")
        run = flow.cancel(interrupted.value.run_id, reason="enough")
        told = check_totals(flow)
        events = flow.events(run_id=run.id, names=["flowstone.materialization.cancelled"])

    assert waiting == {("p",): 1}
    assert told["flowstone_materialization_total"] == {("fine", "success", ""): 1, ("stops", "cancelled", ""): 1}
    assert told["flowstone_run_total"] == {("p", "cancelled"): 1}
    assert [(happened.payload["asset"], happened.payload["message"]) for happened in events] == [
        ("stops", "cancelled by test: enough")
    ]


def test_exemplars_lead_to_the_run_and_its_trace(library, check_totals):
    """The newest measurement of each bucket names a run that the store knows, and that run's trace."""
    check_totals(library)
    run = library.runs()[0]
    duration = samples(library, "flowstone_materialization_duration_seconds")[("library", "success")]
    (exemplar,) = duration.exemplars.values()

    assert exemplar.labels == {"run_id": run.id, "trace_id": run.trace_id}
    assert exemplar.value == duration.value
    assert abs(exemplar.at - run.ended_at / 1e9) < 60


# -- users' metrics --------------------------------------------------------------------------------------------------------


def test_users_metrics_are_folded_by_who_never_imports_their_code(library, tmp_path, database_url, check_totals):
    """An exporter without a pipeline has the metrics from the stored definition."""
    library.emit(BookLent, title="Emma", pages=400)
    library.emit(BookLent, title="Emma")
    check_totals(library)

    with isolated_flow(home=tmp_path, database_url=database_url) as exporter:
        check_totals(exporter)
        assert values(exporter, LENT.name) == {("Emma",): 2}
        assert values(exporter, PAGES.name) == {(): 400}
        assert [family.name for family in exporter.metrics()] == [metric.name for metric in [*METRICS, LENT, PAGES]]


def test_every_metric_is_there_before_anything_has_happened(tmp_path):
    """Without a database all families are there, those of the pipeline too, and none is created by asking."""
    with isolated_flow(one_asset("library", [LENT, PAGES]), home=tmp_path / "home") as flow:
        found = flow.metrics()

    assert [family.name for family in found] == [metric.name for metric in [*METRICS, LENT, PAGES]]
    assert [(family.name, family.samples[0].value) for family in found if family.samples] == [(PAGES.name, 0.0)]
    assert not (tmp_path / "home").exists()


def test_beyond_the_cap_the_total_is_exact_and_it_is_said_once(tmp_path, database_url, check_totals, caplog):
    """With metrics.max_series = 3, further titles are counted together, the overflow has a figure, and one line says so."""
    chosen = dataclasses.replace(isolated_settings(tmp_path, database_url=database_url), metrics=MetricSettings(max_series=3))
    with FlowStone(one_asset("library", [LENT]), settings=chosen) as flow, caplog.at_level(logging.WARNING, "flowstone.metrics"):
        flow.run()
        for title in "ABCDEFG":
            flow.emit(BookLent, title=title)
            check_totals(flow)

        found = values(flow, LENT.name)
        overflow = values(flow, "flowstone_cardinality_overflow_total")

    assert found == {("A",): 1, ("B",): 1, ("C",): 1, (OVERFLOW,): 4}
    assert overflow[(LENT.name,)] == 4
    assert [record.message for record in caplog.records if LENT.name in record.message] == [
        f"metric {LENT.name} has 3 sets of label values (metrics.max_series): what is new is counted under __overflow__"
    ]


def test_a_changed_definition_is_counted_from_the_beginning_and_no_other(library, tmp_path, database_url, check_totals):
    """Another label set begins anew and catches up with the whole record; a new metric too; what did not change goes on."""
    for title in ("Emma", "Persuasion"):
        library.emit(BookLent, title=title, pages=10)
    check_totals(library)
    assert values(library, LENT.name) == {("Emma",): 1, ("Persuasion",): 1}
    runs = values(library, "flowstone_run_total")

    all_lent = Metric.counter(LENT.name, BookLent, drop={"title": "Persuasion"})
    mean = Metric.distribution("acme_book_pages", BookLent, measurement="pages", buckets=[5, 50])
    with isolated_flow(one_asset("library", [all_lent, PAGES, mean]), home=tmp_path, database_url=database_url) as flow:
        flow.run()
        check_totals(flow)
        assert values(flow, LENT.name) == {(): 1}
        assert samples(flow, mean.name)[()].counts == (0, 2, 0)
        assert values(flow, PAGES.name) == {(): 20}
        assert values(flow, "flowstone_run_total")[("library", "success")] == runs[("library", "success")] + 1
        check = set(values(library, LENT.name))

    assert check == {()}


def test_two_pipelines_that_define_a_metric_differently_do_not_fight(library, tmp_path, database_url, check_totals, caplog):
    """The definition of the first pipeline by name counts, for every exporter; the other is said in the log."""
    other = Metric.counter(LENT.name, BookLent)
    with isolated_flow(one_asset("zoo", [other]), home=tmp_path, database_url=database_url) as flow:
        flow.run()
        flow.emit(BookLent, title="Emma")
        check_totals(flow)
        for exporter in (flow, library, flow):
            assert values(exporter, LENT.name) == {("Emma",): 1}

    assert "metric acme_books_lent_total of pipeline zoo: another pipeline defines it otherwise" in caplog.messages


# -- whoever folds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_the_size_of_a_page_changes_nothing(library, tmp_path, database_url, check_totals, monkeypatch, page):
    """Folded one by one, or by any other number at once, the figures are the same."""
    monkeypatch.setattr(series, "PAGE", page)
    for title in "ABCAB":
        library.emit(BookLent, title=title, pages=3)

    check_totals(library)

    assert values(library, LENT.name) == {("A",): 2, ("B",): 2, ("C",): 1}
    assert values(library, PAGES.name) == {(): 15}


def test_two_exporters_and_three_workers_at_once_count_everything_once(tmp_path, database_url, check_totals):
    """Whoever folds while others run and fold: no total ever falls, and at the end all are the store's."""
    ended, folder = threading.Event(), tmp_path / "home"
    with isolated_flow(one_asset("zero"), home=folder, database_url=database_url) as first:
        first.run()

    def work(name):
        with isolated_flow(one_asset(name), home=folder, database_url=database_url) as flow:
            return [flow.run().ok for _ in range(8)]

    def export(_):
        told = []
        with isolated_flow(home=folder, database_url=database_url) as flow:
            while not ended.is_set():
                told.append(sum(values(flow, "flowstone_materialization_attempts_total").values()))
        return told

    with ThreadPoolExecutor(5) as pool:
        exporters = pool.map(export, range(2))
        workers = list(pool.map(work, ("one", "two", "three")))
        ended.set()
        told_of_time = list(exporters)
    with isolated_flow(home=folder, database_url=database_url) as flow:
        told = check_totals(flow)

    assert workers == [[True] * 8] * 3
    assert [told == sorted(told) for told in told_of_time] == [True, True]
    assert sum(told["flowstone_run_total"].values()) == 25


def test_who_is_overtaken_reads_again(library, tmp_path, database_url, settled, check_totals, monkeypatch):
    """Another process folds the same events between reading and writing: nothing is counted twice, and all of it once."""
    check_totals(library)
    library.emit(BookLent, title="Emma", pages=1)
    library.emit(BookLent, title="Emma", pages=1)
    settled(library)
    real, turns = series.page, itertools.count()
    with isolated_flow(home=tmp_path, database_url=database_url) as quicker:

        def slow(connection, *arguments):
            found = real(connection, *arguments)
            if next(turns) == 0:
                monkeypatch.setattr(series, "page", real)
                check_totals(quicker)
                assert values(quicker, LENT.name) == {("Emma",): 2}
            return found

        monkeypatch.setattr(series, "page", slow)
        assert values(library, LENT.name) == {("Emma",): 2}

    assert next(turns) == 1
    assert values(library, PAGES.name) == {(): 2}


def test_two_projects_of_a_store_have_totals_of_their_own(tmp_path, database_url, check_totals):
    """What another project does is no event of this one, and does not hold its fold up."""
    flows = [
        isolated_flow(one_asset("shared"), home=tmp_path / name, project=name, database_url=database_url) for name in ("a", "b")
    ]
    for turns, flow in enumerate(flows, 1):
        for _ in range(turns):
            flow.run()
    told = [check_totals(flow)["flowstone_run_total"] for flow in flows]
    for flow in flows:
        flow.close()

    assert told == [{("shared", "success"): 1.0}, {("shared", "success"): 2.0}]


def test_a_late_commit_is_counted_once(postgres_url, tmp_path, check_totals):
    """A transaction that wrote first and commits last: its event is folded after the others, although its number is lower."""
    insert = "INSERT INTO event (project, at, name, payload) VALUES ('test', 1, 'test.book.lent', %s)"
    with isolated_flow(one_asset("library", [LENT]), home=tmp_path, database_url=postgres_url) as flow:
        flow.run()
        check_totals(flow)
        with psycopg.connect(postgres_url) as slow, psycopg.connect(postgres_url) as quick:
            slow.execute(insert, ('{"at":1,"title":"slow"}',))
            quick.execute(insert, ('{"at":1,"title":"quick"}',))
            quick.commit()
            before = values(flow, LENT.name)
            slow.commit()
        flow.run()
        check_totals(flow)

        assert before == {}
        assert values(flow, LENT.name) == {("slow",): 1, ("quick",): 1}


# -- what cannot be written ------------------------------------------------------------------------------------------------


def refuse_writing(flow, url):
    """Let the database refuse every change that *flow* makes from now on."""
    if url.startswith("postgres"):
        with psycopg.connect(url, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        flow._deployment.reading().backend.engine.dispose()
    else:
        backend = flow._deployment.reading().backend
        cursor = backend.begin()
        backend.rollback(cursor)
        cursor.execute("PRAGMA query_only = on")
        backend.end(cursor)


def test_where_nothing_can_be_written_the_rest_is_folded_in_memory(library, tmp_path, database_url, check_totals, caplog):
    """The metrics of a database that is read-only are those of its record; a prune, which needs them stored, is refused."""
    check_totals(library)
    library.emit(BookLent, title="Emma", pages=7)
    with isolated_flow(home=tmp_path, database_url=database_url) as exporter:
        refuse_writing(exporter, database_url)
        check_totals(exporter)

        assert [values(exporter, PAGES.name) for _ in range(2)] == [{(): 7}] * 2
        with exporter._deployment.reading().reading() as connection:
            stored = {row.labels: row.total for row in series.rows(connection, "test") if row.metric == PAGES.name}
        with pytest.raises(DatabaseError):
            exporter._metrics.fold(must_store=True)

    assert stored == {}
    said = [message for message in caplog.messages if "folded in memory" in message]
    assert len(said) == 1


# -- what is pruned or moved -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folded_before", [True, False])
def test_totals_outlive_the_events_they_were_folded_from(tmp_path, database_url, settled, check_totals, folded_before):
    """A prune folds first: whether or not anybody had asked for metrics, they tell afterwards what the store has."""
    clock = MovableClock()
    chosen = dataclasses.replace(isolated_settings(tmp_path, database_url=database_url), retention=RetentionSettings(events=DAY))
    with FlowStone(one_asset("library", [LENT]), settings=chosen, clock=clock) as flow:
        for title in "AAB":
            flow.run()
            flow.emit(BookLent, title=title)
        if folded_before:
            check_totals(flow)
        clock.advance(timedelta(days=3))
        settled(flow)
        gone = {part.kind: part.removed for part in flow.prune()}
        told = check_totals(flow)
        left = flow.events(names=["flowstone.run.stop", "flowstone.materialization.*"])
        flow.run()
        after = check_totals(flow)

        assert values(flow, LENT.name) == {("A",): 2, ("B",): 1}

    assert gone["events"] > 0
    assert left == []
    assert told["flowstone_run_total"] == {("library", "success"): 3}
    assert after["flowstone_run_total"] == {("library", "success"): 4}


def test_what_is_not_folded_is_not_pruned(tmp_path, postgres_url, check_totals):
    """An old event whose transaction commits after the prune has folded stays, and is counted by the next fold.

    A dry run counts neither of what came behind the open transaction.
    """
    clock = MovableClock()
    chosen = dataclasses.replace(isolated_settings(tmp_path, database_url=postgres_url), retention=RetentionSettings(events=DAY))
    insert = "INSERT INTO event (project, at, name, payload) VALUES ('test', 1, 'test.book.lent', %s)"
    with FlowStone(one_asset("library", [LENT]), settings=chosen, clock=clock) as flow:
        flow.run()
        check_totals(flow)
        recorded = len(flow.events(limit=1_000))
        clock.advance(timedelta(days=3))
        with psycopg.connect(postgres_url) as slow:
            slow.execute(insert, ('{"at":1,"title":"slow"}',))
            with psycopg.connect(postgres_url) as quick:
                quick.execute(insert, ('{"at":1,"title":"quick"}',))
            planned, done = ({part.kind: part.removed for part in flow.prune(dry_run=dry)}["events"] for dry in (True, False))
            slow.commit()
        left = {happened.payload["title"] for happened in flow.events(names=["test.*"])}
        flow.run()
        check_totals(flow)

        assert values(flow, LENT.name) == {("slow",): 1, ("quick",): 1}

    assert left == {"slow", "quick"}
    assert (planned, done) == (recorded, recorded)


@pytest.fixture
def urls(tmp_path, new_postgres_url):
    """A function that gives the URL of a new database of a kind."""
    numbers = itertools.count()
    return lambda kind: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}" if kind == "sqlite" else new_postgres_url()


@pytest.mark.parametrize("kinds", [*itertools.product(["sqlite", "postgres"], repeat=2)], ids=" to ".join)
def test_totals_after_a_restore_are_those_of_the_backup(tmp_path, urls, kinds, check_totals):
    """Into whichever database: what was folded stays, what was not is folded once, and what comes is counted on top."""
    before, after = map(urls, kinds)
    file = tmp_path / "backup.db"
    insert = "INSERT INTO event (project, at, name, payload) VALUES ('test', 1, 'test.book.lent', %s)"
    lent = {("folded",): 1.0, ("not folded",): 1.0}
    with isolated_flow(one_asset("library", [LENT]), home=tmp_path, database_url=before) as flow:
        flow.run()
        if kinds[0] == "postgres":  # numbers and transactions in opposite orders, one of them folded
            with psycopg.connect(before) as slow, psycopg.connect(before) as quick:
                quick.execute("SELECT pg_current_xact_id()")
                slow.execute(insert, ('{"at":1,"title":"late"}',))
                quick.execute(insert, ('{"at":1,"title":"early"}',))
                quick.commit()
                flow.emit(BookLent, title="folded")
                with flow._deployment.reading().reading() as connection:
                    assert series.end(connection)
                values(flow, LENT.name)
                slow.commit()
            lent |= {("late",): 1.0, ("early",): 1.0}
        else:
            flow.emit(BookLent, title="folded")
            check_totals(flow)
        flow.emit(BookLent, title="not folded")
        flow.backup(file)

    flow = isolated_flow(one_asset("library", [LENT]), home=tmp_path / "new", database_url=after)
    restore(flow._deployment, file, folder=None, replace=False, verify=True, actor=Actor("test", "os"))
    flow.close()
    with isolated_flow(one_asset("library", [LENT]), home=tmp_path / "new", database_url=after) as flow:
        check_totals(flow)
        assert values(flow, LENT.name) == lent
        flow.run()
        flow.emit(BookLent, title="folded")
        told = check_totals(flow)
        assert values(flow, LENT.name) == lent | {("folded",): 2.0}

    assert told["flowstone_run_total"] == {("library", "success"): 2}


def test_totals_go_on_where_a_servers_dump_was_loaded(tmp_path, postgres_url, check_totals):
    """Events that another server numbered are adopted with what was folded of them: none is counted twice, none missed."""
    with isolated_flow(one_asset("library", [LENT]), home=tmp_path, database_url=postgres_url) as flow:
        flow.run()
        check_totals(flow)
        flow.emit(BookLent, title="not folded")
    with psycopg.connect(postgres_url) as loaded:
        loaded.execute("UPDATE event SET xid = xid + 1000000000")
        loaded.execute(
            "UPDATE fold SET cursor = split_part(cursor, '-', 1)::bigint + 1000000000 || '-' || split_part(cursor, '-', 2)"
        )
    with isolated_flow(one_asset("library", [LENT]), home=tmp_path, database_url=postgres_url) as flow:
        flow.run()
        told = check_totals(flow)

        assert values(flow, LENT.name) == {("not folded",): 1}
        with flow._deployment.reading().reading() as connection:
            assert connection.execute(text("SELECT max(xid) FROM event")).scalar_one() < 1_000_000_000

    assert told["flowstone_run_total"] == {("library", "success"): 2}
