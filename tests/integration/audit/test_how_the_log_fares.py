"""How the audit log fares is told by metrics and the doctor: how much is sealed and anchored, and what verifying came to."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from flowstone import FlowStone, Pipeline, asset
from flowstone.app import audit_health
from flowstone.app.exporter import of_process
from flowstone.foundation.errors import FlowStoneError
from flowstone.foundation.settings import load
from flowstone.stores import append_only
from flowstone.testing import MovableClock

START = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


@asset
def orders():
    """What was ordered."""
    return [1, 2, 3]


@pytest.fixture
def clock():
    """A clock that stands at noon."""
    return MovableClock(START)


@pytest.fixture
def flow(database_url, tmp_path, monkeypatch, tell, clock):
    """FlowStone on each database after one run, with an anchor beside the one of its keeper."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "anchors").mkdir()
    arguments = {
        "home": str(tmp_path / "home"), "project": "shop", "database.url": database_url,
        "audit.anchors": [f"file:{tmp_path / 'anchors'}"],
    }  # fmt: skip
    settings = load(start=tmp_path, arguments=arguments)
    with FlowStone(Pipeline("shop", [orders]), settings=settings, actor="dev", clock=clock) as made:
        made.run()
        tell(made)
        made.audit.seal()
        yield made


def figures(flow, wanted=None):
    """What the metrics of the log say, by name without what all begin with, and label.

    What is *wanted* is waited for: others use the same server, and their transactions hold events back.
    """
    until = time.monotonic() + 30
    while True:
        families = [family for family in flow.metrics() if family.name.startswith("flowstone_audit_")]
        found = {(family.name[16:], *sample.labels): sample.value for family in families for sample in family.samples}
        if wanted is None or (wanted,) in found or time.monotonic() > until:
            return found
        time.sleep(0.005)


def told(flow, subject):
    """The level and the text the doctor has for *subject*."""
    return next((finding.level, finding.text) for finding in flow.doctor() if finding.subject == subject)


def change(flow, statement):
    """Change the database past FlowStone."""
    with flow._deployment.reading().backend.engine.begin() as connection:
        connection.execute(text(statement))


def test_the_log_is_counted(flow):
    """Entries are counted, sealed or not; each anchor of the settings has when it accepted a head and what it lacks."""
    found = figures(flow)
    size, (file,) = flow.audit.head().size, flow.settings.audit.anchors

    assert size > 0
    assert found[("entries_total",)] == size
    assert found[("unsealed_entries",)] == 0
    assert found[("last_seal_timestamp_seconds",)] > 0
    assert {key[1] for key in found if key[0] == "last_anchor_timestamp_seconds"} == {"state", file}
    assert [found["unanchored_entries", sink] for sink in ("state", file)] == [0, 0]
    assert ("last_verify_timestamp_seconds",) not in found


def test_an_anchor_that_is_not_there_lacks_everything(flow, tmp_path):
    """An anchor of the settings that has never accepted a head is said to be behind, by metrics and by the doctor."""
    arguments = {
        "home": str(tmp_path / "home"), "project": "shop", "database.url": flow.settings.database_url,
        "audit.anchors": ["file:/nowhere/at/all"],
    }  # fmt: skip
    with FlowStone(settings=load(start=tmp_path, arguments=arguments), actor="dev") as other:
        found, size = figures(other), other.audit.head().size

        assert found["unanchored_entries", "file:/nowhere/at/all"] == size
        assert ("last_anchor_timestamp_seconds", "file:/nowhere/at/all") not in found
        assert told(other, "anchors") == ("warn", f"file:/nowhere/at/all has not accepted the newest {size} entries yet")


def test_the_result_of_verifying_is_known(flow):
    """Who verified, when, and the verdict is an event; metrics and the doctor say it."""
    assert told(flow, "last verified")[0] == "not checked"
    flow.audit.verify()
    found = figures(flow, "verify_findings")
    (event,) = flow.events(names=["flowstone.audit.verified"])

    assert event.payload["verdict"] == "INTACT"
    assert (event.payload["actor"], event.payload["entries"]) == ("dev", flow.audit.head().size)
    assert found[("verify_findings",)] == 0
    assert found[("last_verify_timestamp_seconds",)] == pytest.approx(event.at / 1e9)
    assert told(flow, "last verified") == ("ok", "0 min ago by dev: INTACT")


def test_a_verification_that_is_not_to_be_recorded_writes_nothing(flow):
    """Asked not to, verifying leaves the database as it was."""
    assert flow.audit.verify(record=False).checked.verdict == "INTACT"
    assert flow.events(names=["flowstone.audit.verified"]) == []


def test_tampering_is_told_by_everybody(flow):
    """A digest that was edited is a finding of verify, a metric that alerts, and two failed checks of the doctor."""
    change(flow, "UPDATE output SET digest = 'f00d' WHERE asset = 'orders'")
    report = flow.audit.verify()

    assert report.checked.verdict == "TAMPERED"
    assert figures(flow, "verify_findings")[("verify_findings",)] == report.checked.found > 0
    assert told(flow, "records and audit")[0] == "fail"
    assert told(flow, "last verified") == ("fail", f"0 min ago by dev: TAMPERED, {report.checked.found} findings")


def test_a_log_that_is_gone_is_found(flow):
    """Where this user knows of a log and the database has none any more, that is no new one: verify and the doctor say so."""
    dialect = flow._deployment.reading().backend.engine.dialect.name
    for statement in append_only.lifted(dialect):
        change(flow, statement)
    for table in ("audit_disclosure", "audit_anchor", "audit_head", "audit_seal", "audit_entry", "audit_log"):
        change(flow, f"DELETE FROM {table}")
    checked = flow.audit.verify(record=False).checked

    assert (checked.verdict, "foreign" in checked.told) == ("TAMPERED", True)
    assert told(flow, "records and audit")[0] == "fail"


def test_the_doctor_compares_records_with_the_log(flow, monkeypatch):
    """It does so for a small log; of a large one it says who would."""
    level, said = told(flow, "records and audit")
    monkeypatch.setattr(audit_health, "SMALL", 0)

    assert (level, bool(re.fullmatch(r"all agree, in \d+ entries", said))) == ("ok", True)
    assert told(flow, "records and audit")[0] == "not checked"
    assert next(finding.level for finding in flow.doctor(thorough=True) if finding.subject == "records and audit") == "ok"


def test_a_log_that_was_not_verified_for_long_is_a_warning(flow, clock):
    """More than 26 hours after the last time the doctor says so, and with which command it is done."""
    flow.audit.verify()
    clock.advance(timedelta(hours=27).total_seconds())
    found = next(finding for finding in flow.doctor() if finding.subject == "last verified")

    assert (found.level, found.text) == ("warn", "27 h ago by dev: INTACT")
    assert found.fix.startswith("flowstone audit verify")


def test_a_result_that_cannot_be_recorded_is_said(flow, monkeypatch):
    """Where nothing can be written verifying still has its verdict, and a notice."""
    backend = flow._deployment.reading().backend
    if backend.engine.dialect.name == "sqlite":
        change(flow, "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        monkeypatch.setattr("flowstone.audit.verification.append_only.differences", lambda connection: [])
    else:
        change(flow, "ALTER TABLE event ADD CONSTRAINT full_ CHECK (name <> 'flowstone.audit.verified')")
    checked = flow.audit.verify().checked

    assert checked.verdict == "INTACT"
    assert any("could not be recorded" in notice for notice in checked.notices)


def test_changes_that_could_not_be_audited_are_counted(flow):
    """A change whose entry cannot be written is undone, and counted by the process it happened in."""
    before = [row.status for row in flow.runs()]
    change(flow, "ALTER TABLE audit_entry RENAME TO gone")
    with pytest.raises(FlowStoneError):
        flow.hold(asset="orders", reason="a question")
    found = {family.name: family.samples for family in of_process(flow._deployment)}
    change(flow, "ALTER TABLE gone RENAME TO audit_entry")

    assert [sample.value for sample in found["flowstone_process_audit_append_failures_total"]] == [1]
    assert (flow.holds(), [row.status for row in flow.runs()]) == ([], before)


def test_the_doctor_says_that_nothing_is_audited(tmp_path):
    """Where auditing is switched off, that is a warning."""
    arguments = {"home": str(tmp_path / "home"), "project": "shop", "audit.enabled": False}
    with FlowStone(Pipeline("shop", [orders]), settings=load(start=tmp_path, arguments=arguments), actor="dev") as flow:
        flow.run()

        assert told(flow, "audit log") == ("warn", "auditing is switched off (audit.enabled): who changed what is not told")
