"""The audit log of :class:`FlowStone`, on both databases: asked, verified, given out, changed."""

from __future__ import annotations

import json

import pytest

from flowstone import FlowStone, Pipeline, asset
from flowstone.app.sealing import Sealing
from flowstone.audit.offline import verify_export, verify_proof
from flowstone.audit.verify_evidence import verify
from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.foundation.settings import load
from flowstone.stores.audit_questions import Wanted


@asset
def orders():
    """What was ordered."""
    return [1, 2, 3]


@asset
def total(orders):
    """How much that is."""
    return sum(orders)


@pytest.fixture
def flow(database_url, tmp_path, monkeypatch, tell):
    """FlowStone on each database, with one run whose records have their entries."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "anchors").mkdir()
    arguments = {
        "home": str(tmp_path / "home"), "project": "shop", "database.url": database_url,
        "audit.anchors": [f"file:{tmp_path / 'anchors'}"],
    }  # fmt: skip
    with FlowStone(Pipeline("shop", [orders, total]), settings=load(start=tmp_path, arguments=arguments), actor="dev") as made:
        made.run()
        tell(made)
        yield made


def trusted(flow):
    """The key that anybody is given."""
    return [pin.key for pin in flow.audit.pinned_keys() if pin.until is None]


def test_everything_is_verified(flow):
    """Log, anchors, records and bytes agree; the report counts what was compared."""
    report = flow.audit.verify()

    assert (report.checked.verdict, report.checked.findings, report.checked.incomplete) == ("INTACT", [], [])
    assert (report.hashed, report.wrong_bytes, report.records["outputs"], report.records["runs"]) == (2, 0, 2, 1)
    assert len(report.anchors) == 2


def test_the_log_is_asked(flow):
    """Entries are found, newest first, with what is not sealed yet; the head knows how many that is."""
    run_id = flow.runs()[0].id
    found = flow.audit.entries(Wanted(action="materialization.*"))
    head = flow.audit.head()

    assert [entry.asset for entry in found] == ["total", "orders"]
    assert {entry.run_id for entry in found} == {run_id}
    assert (head.size, [anchor.size for anchor in head.anchors]) == (7, [7, 7])
    assert flow.audit.show(found[0].seq) == found[0]
    with pytest.raises(NotFoundError):
        flow.audit.show(99)


def test_what_is_unsealed_is_listed_first(flow, monkeypatch):
    """An entry that waits for its place is listed, before those that have theirs, and counted."""
    sealed = flow.audit.head().size
    monkeypatch.setattr(Sealing, "seal", lambda *_, **__: None)
    flow.run(force=True)
    found = flow.audit.entries()

    assert [entry.seq is None for entry in found] == sorted((entry.seq is None for entry in found), reverse=True)
    assert flow.audit.head().unsealed == sum(entry.seq is None for entry in found) > 0
    assert [entry.seq for entry in found if entry.seq is not None] == list(range(sealed - 1, -1, -1))


def test_what_is_given_out_is_verified(flow, tmp_path):
    """Exports, proofs and evidence of this database are proven with its origin and key alone."""
    origin, keys = flow.audit.head().origin, trusted(flow)
    written = flow.audit.export(tmp_path / "all")
    flow.audit.export(tmp_path / "some", wanted=Wanted(asset="total"))
    flow.audit.evidence(flow.runs()[0].id, tmp_path / "run.evidence")
    said: list[str] = []

    assert verify_export(written.path, origin, keys).verdict == "INTACT"
    assert verify_export(tmp_path / "some", origin, keys).findings == []
    assert verify_proof(flow.audit.prove(2), origin, keys).verdict == "INTACT"
    assert len(flow.audit.prove_consistency(3)) > 0
    assert verify((tmp_path / "run.evidence").read_bytes(), origin, str(keys[0]), said.append) == 0, said


def test_evidence_of_a_run_that_reused_tells_who_computed(flow, tell, tmp_path):
    """The evidence of a run that computed nothing has the entries of the outputs it reused, and how they were made."""
    made = flow.runs()[0].id
    second = flow.run().run_id
    tell(flow)
    flow.audit.evidence(second, tmp_path / "b")
    parts = [json.loads(line) for line in (tmp_path / "b").read_text().splitlines()]
    keys, said = trusted(flow), []

    assert {part["run_id"] for part in parts if part["part"] == "output"} == {made}
    assert [part["part"] for part in parts].count("entry") >= 4
    assert verify((tmp_path / "b").read_bytes(), flow.audit.head().origin, str(keys[0]), said.append) == 0, said


def test_a_sample_is_drawn(flow, tmp_path):
    """A sample of what the log tells of is drawn by its seed alone, within the times that are asked for."""
    drawn = flow.audit.sample("total", tmp_path / "sample", count=5, seed="2026")

    assert (drawn.population, len(drawn.chosen)) == (1, 1)
    assert (tmp_path / "sample" / drawn.chosen[0].file).is_file()
    for wanted, asset_name in ((Wanted(until=1), "total"), (Wanted(), "nothing")):
        with pytest.raises(NotFoundError):
            flow.audit.sample(asset_name, tmp_path / "none", count=5, seed="2026", wanted=wanted)
    assert not (tmp_path / "none").exists()


def test_the_log_is_changed_by_its_keeper(flow, tell):
    """Keys are rotated and reasons redacted, each with a reason, and the log is as intact as before."""
    flow.hold("total", reason="dispute with Mrs. Smith")
    tell(flow)
    [held] = flow.audit.entries(Wanted(action="hold.added"))
    flow.audit.redact(held.seq, reason="asked by the person")
    flow.audit.rotate_key(reason="yearly")
    with pytest.raises(UsageError, match="reason"):
        flow.audit.rotate_key(reason=" ")
    after = flow.audit.show(held.seq)

    assert (after.disclosed, after.redacted, held.disclosed) == ({}, ["reason"], {"reason": "dispute with Mrs. Smith"})
    assert flow.audit.verify(reconcile=False).checked.verdict == "INTACT"
    assert [entry.action for entry in flow.audit.entries(limit=2)] == ["keys.rotated", "audit.redacted"]


def test_an_anchor_that_was_cut_off_or_edited_is_no_anchor(flow, tell, tmp_path):
    """38: an anchor file without its newest line makes the verdict incomplete, one that was edited makes it tampered."""
    for _ in range(2):
        flow.run(force=True)
        tell(flow)
    [path] = (tmp_path / "anchors").iterdir()
    whole = path.read_bytes().splitlines(keepends=True)
    said = {}
    for name, lines in (("cut", whole[:-1]), ("edited", [whole[0].replace(b'"at":1', b'"at":2'), *whole[1:]]), ("whole", whole)):
        path.write_bytes(b"".join(lines))
        said[name] = flow.audit.verify(reconcile=False).checked
    path.unlink()
    said["gone"] = flow.audit.verify(reconcile=False).checked

    assert {name: checked.verdict for name, checked in said.items()} == {
        "cut": "INCOMPLETE", "edited": "TAMPERED", "whole": "INTACT", "gone": "INCOMPLETE",
    }  # fmt: skip
    assert "was cut off" in said["cut"].incomplete[0]


def test_nobody_can_make_an_anchor_up(flow, tmp_path):
    """A head that somebody wrote down is compared with the log when its signature is good; a made-up one is a finding."""
    seen, head = tmp_path / "head.txt", flow.audit.head()
    seen.write_text(head.note)
    honest = flow.audit.verify(anchors=[seen], reconcile=False).checked
    seen.write_text(head.note.replace(f"\n{head.size}\n", "\n999\n"))
    forged = flow.audit.verify(anchors=[seen], reconcile=False).checked

    assert honest.verdict == "INTACT"
    assert [finding.kind for finding in forged.findings] == ["signature"]
