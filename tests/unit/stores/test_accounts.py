"""One by one: a store where something was changed outside FlowStone is told so, also where the numbers still agree."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy.engine import make_url

from flowstone import Daily, FlowStone, Pipeline, Retry, asset
from flowstone.app.doctor import FOLDED
from flowstone.foundation.clock import DAY
from flowstone.foundation.errors import PlanError
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.stores import accounts, group_accounts
from flowstone.testing import MovableClock, isolated_flow, isolated_settings

DAYS = Daily("2026-11-01")


@asset
def fine():
    return 1


@asset(retries=Retry(attempts=3, delay=0))
def flaky(fine, ctx):
    if ctx.attempt < 3:
        raise TimeoutError(f"no answer within {ctx.attempt} s")
    return 2


@asset
def bad(flaky):
    raise ValueError("no")


@asset
def behind(bad):
    return 3


@asset
def skips(ctx):
    ctx.skip("nothing to do")


class Unknown:
    """A mapping that raises."""

    needs_existing = False

    def upstream(self, key, existing):
        raise KeyError("no such region")

    def describe(self):
        return "unknown()"


@asset(partitions=DAYS)
def sales():
    return 1


@asset(partitions=DAYS, mapping={"sales": Unknown()})
def change(sales):
    return 2


SHOP = Pipeline("shop", [fine, flaky, bad, behind, skips])
BROKEN = Pipeline("broken", [sales, change])


def fill(home, url, settled=lambda flow: None):
    """Make a store with a failed run, one that reuses, one that could not be planned, and decisions about groups of errors."""
    with isolated_flow(SHOP, home=home, database_url=url) as flow:
        flow.run()
        flow.run(["fine", "flaky"])
        groups = {group.type: group.id for group in flow.error_groups()}
        flow.resolve_errors(groups["TimeoutError"], reason="the network is mended")
        flow.mute_errors(groups["ValueError"], reason="known")
        settled(flow)
        flow.metrics()
    with isolated_flow(BROKEN, home=home, database_url=url) as flow, pytest.raises(PlanError):
        flow.run()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a store that is copied and never changed."""
    folder = tmp_path_factory.mktemp("kept")
    fill(folder, f"sqlite:///{folder / 'flowstone.db'}")
    return folder


def failing(home, url):
    """What the doctor finds wrong."""
    with isolated_flow(home=home, database_url=url) as flow:
        return {finding.subject for finding in flow.doctor() if finding.level == "fail"}


def change_outside(url, statement):
    """Run a statement as somebody with the database's own tool would; return how many rows it changed."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            changed = connection.execute(statement).rowcount
        connection.close()
        return changed
    with psycopg.connect(url) as connection:
        return connection.execute(statement).rowcount


def replaced(name, old, new):
    """The statement that changes a text in the payloads of events."""
    found = f"name = 'flowstone.{name}' AND payload LIKE '%{old}%'"
    return f"UPDATE event SET payload = replace(payload, '{old}', '{new}') WHERE {found}"


def told_twice(name):
    """The statement that tells one event a second time in the place of another: their number stays."""
    first, last = (f"FROM event WHERE name = 'flowstone.{name}' ORDER BY id {order} LIMIT 1" for order in ("ASC", "DESC"))
    return f"UPDATE event SET payload = (SELECT payload {first}) WHERE id = (SELECT id {last})"


EVENT = "project, at, name, run_id, payload"
CORRUPTIONS = {
    "a start told twice, another never": (told_twice("materialization.start"), accounts.ONE_ENDING),
    "an ending told twice, another never": (told_twice("materialization.exception"), accounts.ONE_ENDING),
    "an ending of an attempt that was not": (replaced("materialization.stop", '"attempt":3', '"attempt":4'), accounts.ONE_ENDING),
    "an ending as something else": (replaced("materialization.exception", '"kind":"error"', '"kind":"cancelled"'),
                                    accounts.ONE_ENDING),
    "a failure made a success": ("UPDATE attempt SET status = 'success' WHERE status = 'failed'", accounts.ONE_ENDING),
    "a success made a skip": ("UPDATE attempt SET status = 'skipped' WHERE status = 'success'", accounts.ONE_ENDING),
    "an attempt deleted": ("DELETE FROM attempt WHERE status = 'skipped'", accounts.ONE_ENDING),
    "a payload that is none": ("UPDATE event SET payload = 'gone' WHERE name = 'flowstone.materialization.stop'",
                               accounts.ONE_ENDING),
    "a run that never ended": ("DELETE FROM event WHERE name = 'flowstone.run.stop'", accounts.ONE_RUN),
    "a failed run made a success": ("UPDATE run SET status = 'success' WHERE status = 'failed'", accounts.ONE_RUN),
    "a run begun twice": (f"INSERT INTO event ({EVENT}) SELECT {EVENT} FROM event WHERE name = 'flowstone.run.start'",
                          accounts.ONE_RUN),
    "a reuse untold": ("DELETE FROM event WHERE name = 'flowstone.materialization.reused'", accounts.ONE_STEP),
    "a skip made a reuse": ("UPDATE materialization SET status = 'reused' WHERE status = 'skipped'", accounts.ONE_STEP),
    "a load that never ended": ("DELETE FROM event WHERE name = 'flowstone.io.load.stop'", accounts.ONE_MOVE),
    "a store of another asset": (replaced("io.store.stop", '"subject":"fine"', '"subject":"bad"'), accounts.ONE_MOVE),
    "an error deleted": ("DELETE FROM error WHERE type = 'ValueError'", accounts.ONE_ERROR),
    "all errors of a run deleted": ("DELETE FROM error WHERE attempt > 0", accounts.ONE_ERROR),
    "the error of the plan deleted": ("DELETE FROM error WHERE attempt = 0", accounts.ONE_ERROR),
    "an error of another attempt": ("UPDATE error SET attempt = 9 WHERE type = 'ValueError'", accounts.ONE_ERROR),
    "an error of another asset": ("UPDATE error SET asset = 'fine' WHERE type = 'ValueError'", accounts.ONE_ERROR),
    "an attempt without its error": ("UPDATE attempt SET error = '' WHERE error <> ''", accounts.ONE_ERROR),
    "an error told twice, another never": (told_twice("error"), accounts.ONE_ERROR),
    "a cure that was none": ("UPDATE error SET cured = 1 WHERE type = 'ValueError'", accounts.ONE_CURE),
    "a cure untold": (replaced("materialization.stop", '"cured":2', '"cured":1'), accounts.ONE_CURE),
    "a cure taken back": ("UPDATE error SET cured = 0", group_accounts.COUNTED),
    "a group deleted": ("DELETE FROM error_group WHERE type = 'ValueError'", group_accounts.IN_A_GROUP),
    "a group that counts too little": ("UPDATE error_group SET errors = errors - 1", group_accounts.COUNTED),
    "a group that counts too much": ("UPDATE error_group SET errors = errors + 1", group_accounts.COUNTED),
    "a group that counts cures": ("UPDATE error_group SET cured = cured + 1", group_accounts.COUNTED),
    "a group that was seen later": ("UPDATE error_group SET last_at = last_at + 1", group_accounts.COUNTED),
    "a group opened without a word": ("UPDATE error_group SET status = 'open', decided_at = NULL", group_accounts.DECIDED),
    "a group resolved without a word": ("UPDATE error_group SET status = 'resolved' WHERE type = 'plan_failed'",
                                        group_accounts.DECIDED),
    "a mute made a resolution": ("UPDATE error_group SET status = 'resolved' WHERE status = 'muted'", group_accounts.DECIDED),
    "a decision untold": ("DELETE FROM event WHERE name = 'flowstone.error_group.muted'", group_accounts.DECIDED),
    "a metric ahead of the record": ("UPDATE fold SET cursor = '9999999'", FOLDED),
    "a metric that stands nowhere": ("UPDATE fold SET cursor = 'gone'", FOLDED),
}  # fmt: skip
ON_A_SERVER = (
    "an ending told twice, another never", "a failed run made a success", "an error deleted", "a cure untold",
    "a group deleted", "a group that counts cures", "a decision untold", "a metric ahead of the record",
)  # fmt: skip


def test_an_honest_store_has_no_finding(tmp_path, database_url):
    """Failures, retries, cures, reuse, skips, a plan that failed, decisions: nothing of it is a disagreement."""
    fill(tmp_path, database_url)

    assert failing(tmp_path, database_url) == set()


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_each_corruption_is_found(kept, tmp_path, corruption):
    """A store that was changed from outside is told under the subject that was broken."""
    statement, subject = CORRUPTIONS[corruption]
    home = shutil.copytree(kept, tmp_path / "home")
    url = f"sqlite:///{home / 'flowstone.db'}"

    assert change_outside(url, statement) >= 1
    assert subject in failing(home, url)


def test_corruptions_are_found_on_a_server(tmp_path, postgres_url, postgres_server, new_postgres_url, settled):
    """What compares runs, errors and groups says the same of a PostgreSQL database."""
    fill(tmp_path, postgres_url, settled)
    found = {}
    for name in ON_A_SERVER:
        url = new_postgres_url()
        copy, source = (make_url(one).database for one in (url, postgres_url))
        postgres_server.execute(f"DROP DATABASE {copy}")
        postgres_server.execute(f"CREATE DATABASE {copy} TEMPLATE {source}")
        change_outside(url, CORRUPTIONS[name][0])
        found[name] = CORRUPTIONS[name][1] in failing(tmp_path, url)

    assert found == dict.fromkeys(ON_A_SERVER, True)


def test_what_was_pruned_is_no_disagreement(tmp_path):
    """Errors and events that were pruned leave groups that count more than is there, and no finding; a metric saw them."""
    clock = MovableClock()
    kept = RetentionSettings(errors=DAY, events=DAY, logs=DAY)
    settings = dataclasses.replace(isolated_settings(tmp_path), retention=kept)
    with FlowStone(SHOP, settings=settings, clock=clock) as flow:
        flow.run()
        clock.advance(timedelta(days=3))
        flow.run("bad", force=True)
        removed = {pruned.kind: pruned.removed for pruned in flow.prune()}
        faults = [finding.subject for finding in flow.doctor(thorough=True) if finding.level == "fail"]
        (group,) = [group for group in flow.error_groups() if group.type == "TimeoutError"]
        newest = flow.error_group(group.id).newest

        change_outside(settings.database_url, "UPDATE fold SET cursor = '1'")
        behind = {finding.subject for finding in flow.doctor() if finding.level == "fail"}

    assert removed["errors"] == 3
    assert faults == []
    assert behind == {FOLDED}
    assert (group.errors, group.cured, newest) == (2, 2, [])


def test_a_store_is_compared_in_bounded_time(flow, monkeypatch):
    """Only as many events as fit are compared one by one, and how many runs that were is said; ``--all`` compares every run."""
    monkeypatch.setattr("flowstone.app.doctor.EVENTS", 60)
    made = flow(SHOP)
    for _ in range(4):
        made.run(force=True)

    def said(**how):
        return next(finding.text for finding in made.doctor(**how) if finding.subject == "one by one")

    assert "in 1 run of 4; flowstone doctor --all" in said()
    assert said(thorough=True).endswith("in 4 runs")
