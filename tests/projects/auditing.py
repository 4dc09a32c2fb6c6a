"""An honest history on a real database: records and their audit entries, made as the engine makes them, drawn from a seed."""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import insert, update

from flowstone.audit import acts
from flowstone.audit.acts import Act
from flowstone.audit.anchoring import Anchors
from flowstone.audit.entries import Auditor, begin_log, entry_of
from flowstone.audit.fold import Fold
from flowstone.audit.inspection import Readers
from flowstone.audit.keeper import Keeper
from flowstone.audit.promises import Anchored
from flowstone.audit.reconciliation import reconcile, unaudited
from flowstone.audit.rotation import rotate
from flowstone.audit.sealing import Sealer
from flowstone.audit.signatures import SignatureCheck
from flowstone.audit.state import State, state_of
from flowstone.audit.verification import check_log
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.ids import Ids
from flowstone.foundation.serialize import to_json
from flowstone.stores import holds, lineage, materializations, outputs, pipelines, processes, retention, runs
from flowstone.stores.database import Database
from flowstone.stores.records import HoldRecord, OutputRecord
from flowstone.stores.tables import error_group
from flowstone.testing import MovableClock

sys.path.insert(0, str(Path(__file__).parent))
from releasing import SIGNERS, Releasing  # found beside this file, however that was loaded

PROJECT = "shop"
ASSETS = ("orders", "rates", "totals")
PARTITIONS = ("", "mon", "tue", "k" * 200)


class World(Releasing):
    """One database with its log and its keeper's state; everything in it follows from the seed."""

    def __init__(self, url: str, folder: Path, seed: int = 0, *, is_audited: bool = True) -> None:
        self.url, self.folder, self.random = url, folder, random.Random(seed)
        self.clock, self.ids = MovableClock(), Ids(random.Random(seed).randbytes)
        self.open()
        self.origin = begin_log(self.database, "laptop")
        self.auditor = Auditor(self.origin, PROJECT)
        self.state = state_of(self.origin, {"FLOWSTONE_STATE_HOME": str(folder / "state")})
        self.run = self.made = None
        self.are_keys_listed = False
        self.anchors: list[Anchored] = []
        self.steps = (
            *[self.succeed] * 6, self.fail, self.succeed_again, self.end_run, self.cancel_run, self.invalidate, self.erase,
            self.collect, self.hold, self.release, self.decide, self.define, self.seal, self.seal, self.rotate, self.restart,
            self.step_clock, self.read, *[self.ask] * 4, *[self.answer] * 3, self.vote, self.refuse,
        )  # fmt: skip
        with self.database.transaction() as tx:
            processes.register(tx, "proc_1", "here", 1, self.database.now())
        self.is_audited = is_audited
        if is_audited:
            self.begin()

    def begin(self) -> None:
        """Auditing begins, or begins again: of what has no entry there is a digest."""
        self.is_audited = True
        with self.database.reading() as connection, closing(Fold(connection)) as log:
            check_log(connection, self.origin, [], reader=log)
            digest = unaudited(connection, PROJECT, log)
        with self.database.transaction() as tx:
            self.audit(tx, acts.begun(digest, self.database.now()))

    def stop(self) -> None:
        """Auditing is switched off."""
        with self.database.transaction() as tx:
            self.audit(tx, acts.stopped())
        self.is_audited = False

    def open(self) -> None:
        """Open the database anew."""
        self.database = Database(self.url, Dispatcher(self.clock), self.clock)
        self.is_open = True

    def close(self) -> None:
        """Close the database."""
        self.database.close()
        self.is_open = False

    def audit(self, tx, act: Act, *, run_id: str = "", version: int | None = None, actor: str = "dev") -> None:
        """Append the entry of *act*, unless auditing is switched off."""
        if not self.is_audited:
            return
        trace = "0" * 31 + "1" if run_id else ""
        entry = entry_of(act, actor=actor, identity="os", at=self.database.now(), run_id=run_id, trace_id=trace, version=version)
        self.auditor.append(tx, entry)

    def live(self, steps: int) -> World:
        """Do that many things, and seal in the end."""
        for _ in range(steps):
            self.clock.advance(self.random.uniform(0.001, 5))
            self.random.choice(self.steps)()
        self.succeed()
        self.seal()
        return self

    # -- what happens ----------------------------------------------------------------------------------------------------------

    def request_run(self) -> None:
        """A run is requested."""
        self.run, self.made, now = self.ids.new("run"), {}, self.database.now()
        row = {
            "id": self.run, "project": PROJECT, "pipeline": "p", "definition": "d" * 64, "status": "running", "request": "{}",
            "plan": to_json([self.random.random()]), "actor": "dev", "identity": "os", "trace_id": "0" * 31 + "1",
            "provenance": "{}", "process": "proc_1", "requested_at": now,
        }  # fmt: skip
        with self.database.transaction() as tx:
            runs.insert(tx, row)
            self.audit(tx, acts.run_requested(row), run_id=self.run, version=1)

    def end_run(self, status: str = "success") -> None:
        """The run ends."""
        if self.run is None:
            return
        now, outcome = self.database.now(), {"success": self.random.randrange(9)}
        with self.database.reading() as connection:
            steps = [
                (m.id, m.status, m.attempts, m.later, m.reason, m.output) for m in materializations.of_run(connection, self.run)
            ]
        with self.database.transaction() as tx:
            assert runs.move(tx, self.run, "running", status, held="proc_1", outcome=outcome, ended_at=now)
            self.audit(tx, acts.run_ended(self.run, status, now, to_json(outcome), steps), run_id=self.run)
        self.run = None

    def cancel_run(self) -> None:
        """Somebody asks for the end of the run, and it ends."""
        if self.run is None:
            return
        now = self.database.now()
        with self.database.transaction() as tx:
            runs.request_cancel(tx, self.run, now)
            self.audit(tx, acts.run_cancel_requested(self.run, "wrong day", now), run_id=self.run)
        self.end_run("cancelled")

    def _place(self) -> tuple[str, str] | None:
        """An asset and a partition that the run has not worked on."""
        if self.run is None:
            self.request_run()
        free = [(a, p) for a in ASSETS for p in PARTITIONS if (a, p) not in self.made]
        return self.random.choice(free) if free else None

    def succeed(self) -> None:
        """A materialization makes an output of what is current."""
        place = self._place()
        if place is None:
            self.end_run()
            place = self._place()
        asset, partition = place
        now, inputs = self.database.now(), self.current()
        with self.database.transaction() as tx:
            row = materializations.claim_new(tx, PROJECT, self.run, asset, partition)
            attempt = materializations.begin_attempt(tx, row, 1, "proc_1", now)
            record = self._record(row, asset, partition, now)
            edges = [(f"i{number}", id) for number, id in enumerate(sorted(inputs)[:2])]
            materializations.settle_attempt(tx, attempt, "proc_1", "success", now, 5)
            materializations.settle(tx, row, "success", output=record.id)
            outputs.add(tx, {**{name: getattr(record, name) for name in record.__struct_fields__}, "project": PROJECT})
            outputs.point(tx, PROJECT, asset, partition, record.id)
            for parameter, upstream in edges:
                lineage.add(tx, record.id, parameter, upstream)
            self.audit(tx, acts.succeeded(row, record, edges, 1), run_id=self.run, version=1)
        self.made[asset, partition] = record

    def succeed_again(self) -> None:
        """Another run makes the newest output anew."""
        self.end_run()
        self.succeed()

    def _record(self, row: int, asset: str, partition: str, now: int) -> OutputRecord:
        digest, id = self.random.randbytes(32).hex(), self.ids.numbered("out", row, 1)
        return OutputRecord(
            id=id, asset=asset, partition=partition, version=0, run_id=self.run, attempt=1, manager="files",
            location=f"{asset}/{partition}/{id}.json", format="json", digest=digest, size=self.random.randrange(10**9),
            rows=self.random.choice([None, 7]), schema=None, definition="d" * 64, config="", inputs="i" * 64, source_version="",
            summary=self.random.choice(["", "7 rows for Ann"]), created_at=now,
        )  # fmt: skip

    def fail(self) -> None:
        """A materialization fails for good."""
        place = self._place()
        if place is None:
            return
        with self.database.transaction() as tx:
            row = materializations.claim_new(tx, PROJECT, self.run, *place)
            materializations.settle(tx, row, "failed", reason="ValueError", message="boom")
            self.audit(tx, acts.failed(row, *place, "ValueError", "boom", 1), run_id=self.run, version=1)
        self.made[place] = None

    def current(self) -> list[str]:
        """The current outputs."""
        with self.database.reading() as connection:
            return sorted(record.id for record in outputs.current_of(connection, PROJECT).values())

    def _some_output(self, *, current: bool) -> OutputRecord | None:
        with self.database.reading() as connection:
            now = {record.id for record in outputs.current_of(connection, PROJECT).values()}
            found = [r for r in retention.listed(connection, PROJECT, None, None, "kept", 1_000) if (r.id in now) == current]
        return self.random.choice(sorted(found, key=lambda record: record.id)) if found else None

    def invalidate(self) -> None:
        """A current output is withdrawn."""
        record = self._some_output(current=True)
        if record is not None:
            with self.database.transaction() as tx:
                outputs.withdraw(tx, PROJECT, record.asset, record.partition, record.id)
                self.audit(tx, acts.invalidated(record.asset, record.partition, record.id))

    def erase(self) -> None:
        """The bytes of a current output are erased."""
        record, now = self._some_output(current=True), self.database.now()
        if record is not None:
            with self.database.transaction() as tx:
                was = outputs.withdraw(tx, PROJECT, record.asset, record.partition, record.id)
                retention.mark_gone(tx, record.id, "erased", now)
                self.audit(tx, acts.erased(record, now, "asked by Ann", was_current=was))

    def collect(self) -> None:
        """The bytes of a superseded output are given up."""
        record, now = self._some_output(current=False), self.database.now()
        if record is not None:
            with self.database.transaction() as tx:
                retention.mark_gone(tx, record.id, "collected", now)
                self.audit(tx, acts.collected(record.asset, record.partition, [record.id], now))

    def hold(self) -> None:
        """Something is held."""
        now = self.database.now()
        record = HoldRecord(
            id=self.ids.new("hold"), asset="orders", partition="mon", output="", run_id="", reason="dispute with Ann",
            actor="dev", identity="os", at=now, released_at=None, released_by="",
        )  # fmt: skip
        with self.database.transaction() as tx:
            holds.add(tx, PROJECT, record)
            self.audit(tx, acts.hold_added(record))

    def release(self) -> None:
        """A hold is released."""
        with self.database.reading() as connection:
            active = holds.active(connection, PROJECT)
        if active:
            now = self.database.now()
            with self.database.transaction() as tx:
                holds.release(tx, PROJECT, active[0].id, "dev", now)
                self.audit(tx, acts.hold_released(active[0].id, now, "settled"))

    def decide(self) -> None:
        """Somebody decides about a group of errors."""
        fingerprint, now = self.ids.new("f"), self.database.now()
        status = self.random.choice(["resolved", "muted", "open"])
        decision = {"status": status, "decided_at": now, "decided_by": "dev", "identity": "os", "reason": "ticket 4711"}
        row = {
            "project": PROJECT, "fingerprint": fingerprint, "type": "E", "message": "m", "asset": "a", "status": "open",
            "errors": 1, "cured": 0, "first_error": "e", "last_error": "e", "first_at": 1, "last_at": 1, "decided_by": "",
            "identity": "", "reason": "",
        }  # fmt: skip
        own = (error_group.c.fingerprint == fingerprint,)
        with self.database.transaction() as tx:
            tx.execute(lambda: insert(error_group).values(row), {})
            tx.execute(lambda: update(error_group).where(*own).values(decision), {})
            self.audit(tx, acts.group_decided(fingerprint, status, now, "ticket 4711"))

    def define(self) -> None:
        """A definition is used that was not seen before."""
        digest, definition = self.random.randbytes(32).hex(), {"assets": [self.random.random()]}
        with self.database.transaction() as tx:
            assert pipelines.remember(tx, PROJECT, "p", digest, definition, self.database.now())
            self.audit(tx, acts.pipeline_changed("p", digest, to_json(definition), {"added": ["orders"]}))

    def read(self) -> None:
        """Somebody reads data that is sensitive: an entry, and no record."""
        with self.database.transaction() as tx:
            self.audit(tx, Act(acts.DATA_READ, f"read:{self.ids.new('r')}", "success", {"asset": "orders"}), version=1)

    def seal(self) -> None:
        """What is not sealed is sealed, and the head given to an anchor."""
        for sealed in Sealer(self.database, self.state, self.origin).seal():
            self.anchors.append(Anchored("the test's", sealed.note))

    def rotate(self) -> None:
        """The keeper's key is replaced by another one."""
        if self.state.head() is not None:
            sealer = Sealer(self.database, self.state, self.origin)
            done = rotate(Keeper(self.database, sealer, Anchors(self.database, []), PROJECT, "dev", "os"), "yearly")
            self.anchors.append(Anchored("the test's", done.note))

    def restart(self) -> None:
        """The process ends and another one begins."""
        self.close()
        self.open()

    def step_clock(self) -> None:
        """The clock is set, a day back or forward."""
        now = self.clock.now
        self.clock.set(now.replace(day=1 + self.random.randrange(28)))

    # -- verifying -------------------------------------------------------------------------------------------------------------

    def verify(self, *, outside: bool = True, records: bool = True, connection=None):
        """Verify the log and the records as their keeper does, or without what lies *outside*, or without the *records*."""
        if connection is None:
            with self.database.reading() as own:
                return self.verify(outside=outside, records=records, connection=own)
        anchored, note = list(self.anchors), self.state.head()
        if note is not None:
            anchored.append(Anchored("in the state folder", note))
        log, signatures = Fold(connection), SignatureCheck(SIGNERS)
        try:
            given, reader = (anchored if outside else (),), Readers(log, signatures)
            checked = check_log(connection, self.origin, self.state.pinned(), *given, now=self.database.now(), reader=reader)
            checked.incomplete += signatures.end(checked)
            if records:
                reconcile(connection, log, checked)
        finally:
            log.close()
        return checked

    def copied(self, url: str, folder: Path) -> World:
        """The same history in another database, which has been copied to *url*, with a keeper of the same state in *folder*."""
        other = copy.copy(self)
        other.url, other.folder, other.anchors = url, folder, list(self.anchors)
        other.state = State(shutil.copytree(self.state.folder, folder / "copied-state"))
        other.steps = tuple(getattr(other, step.__name__) for step in self.steps)
        other.open()
        return other


def main() -> None:
    """Append ``count`` entries to the log of ``url`` as process ``number``, sealing now and then."""
    told = json.loads(sys.argv[1])
    database = Database(told["url"], Dispatcher(MovableClock()), MovableClock())
    auditor = Auditor(told["origin"], PROJECT)
    sealer = Sealer(database, state_of(told["origin"], {"FLOWSTONE_STATE_HOME": told["state"]}), told["origin"])
    for number in range(told["count"]):
        with database.transaction() as tx:
            act = Act("data.read", f"read:{told['number']}.{number}", "success", {"asset": "orders"})
            auditor.append(tx, entry_of(act, actor="dev", identity="os", at=database.now(), version=1))
        if number % told["every"] == 0:
            sealer.seal()
    database.close()


if __name__ == "__main__":
    main()
