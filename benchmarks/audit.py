"""What the audit log costs: a step with and without it, appending, sealing, verifying, and many writers on PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Select, Update, bindparam, column, select, table, update

from benchmarks.graphs import chain
from benchmarks.measure import Bench, Budget, Took, beyond, process, stopwatch
from benchmarks.postgres import is_there, server
from benchmarks.steps import new_store, once
from flowstone import FlowStone
from flowstone.audit.acts import Act
from flowstone.audit.entries import Auditor, begin_log, entry_of
from flowstone.audit.fold import Fold
from flowstone.audit.recorder import Who
from flowstone.audit.sealing import Sealer
from flowstone.audit.state import state_of
from flowstone.audit.verification import check_log
from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.clock import SystemClock
from flowstone.ledger.event_log import EventLog
from flowstone.stores.database import Database, Transaction

WRITERS = 8
_head = table("bench_head", column("hash"))
TOGETHER = 100
"""Entries of one transaction, as a run of many steps has them."""
RATE = 500
"""Entries a second, for the lag of sealing."""
_VERIFY = """
import resource, sys, time
from pathlib import Path
from benchmarks.audit import Log
log = Log(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
took = []
for is_folded in (False, True):
    began = time.process_time()
    entries = log.verify(folded=is_folded)
    took.append((time.process_time() - began) / entries * 1e6)
print(*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
_WRITE = """
import sys, time
from pathlib import Path
from benchmarks.audit import Writer
writer = Writer(*sys.argv[1:3])
print("ready", flush=True)
sys.stdin.readline()
writer.write(int(sys.argv[3]))
print("done", flush=True)
"""


class Log:
    """A log on SQLite in *folder*, with its keeper's state beside it."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'flowstone.db'}", Dispatcher(), SystemClock())
        self.origin = begin_log(self.database, "bench")
        self.state = state_of(self.origin, {"FLOWSTONE_STATE_HOME": str(folder / "state")})
        self._auditor, self._number = Auditor(self.origin, "bench"), 0

    def append(self, count: int, together: int = TOGETHER) -> None:
        """Append *count* entries, *together* in each transaction."""
        for _ in range(0, count, together):
            with self.database.transaction() as tx:
                for _ in range(together):
                    self._number += 1
                    append(tx, self._auditor, self._number, self.database.now())

    def seal(self) -> int:
        """Seal what is not sealed; return how many entries that were."""
        return sum(sealed.added for sealed in Sealer(self.database, self.state, self.origin).seal())

    def verify(self, *, folded: bool) -> int:
        """Verify the log, and fold what it tells of records, to compare them; return how many entries there are."""
        with self.database.reading() as connection, closing(Fold(connection)) as fold:
            checked = check_log(connection, self.origin, self.state.pinned(), reader=fold if folded else None)
        assert checked.verdict == "INTACT", checked
        return checked.entries

    def close(self) -> None:
        """Let it go."""
        self.database.close()


def append(tx: Transaction, auditor: Auditor, number: int, now: int) -> None:
    """Append the entry of a materialization."""
    data = {
        "asset": "orders", "output": f"out_{number}", "digest": "ab" * 32, "size": number, "definition": "cd" * 32,
        "inputs_digest": "ef" * 32, "attempts": 1, "record": "01" * 32,
    }  # fmt: skip
    act = Act("materialization.succeeded", f"materialization:{number}", "success", data, {"location": f"orders/{number}.json"})
    auditor.append(tx, entry_of(act, actor="bench", identity="os", at=now, version=1, run_id="run_1"))


class Writer:
    """One of many processes that write small changes: *how* is ``plain``, ``audited`` or ``chained``."""

    def __init__(self, url: str, how: str) -> None:
        self._database, self._how = Database(url, Dispatcher(), SystemClock()), how
        self._database.recorders = (EventLog("bench"),)
        self._auditor, self._first = Auditor("bench/0", "bench"), secrets.randbelow(2**50)

    def write(self, count: int) -> None:
        """Commit so many changes."""
        for number in range(self._first, self._first + count):
            with self._database.transaction() as tx:
                tx.emit(AssetInvalidated, asset="a", partition="", output=str(number), actor="bench", identity="os")
                if self._how == "chained":
                    _chain(tx, number)
                if self._how != "plain":
                    append(tx, self._auditor, number, self._database.now())


def _chain(tx: Transaction, number: int) -> None:
    """What a log with one global chain does: lock its head, hash on, and hold it until the commit."""
    before = str(tx.execute(_locked_head, {}).fetchone()[0])
    tx.execute(_new_head, {"h": hashlib.sha256(f"{before}{number}".encode()).hexdigest()})


def _locked_head() -> Select[Any]:
    return select(_head.c.hash).with_for_update()


def _new_head() -> Update:
    return update(_head).values(hash=bindparam("h"))


# -- the figures -----------------------------------------------------------------------------------------------------------


def measure(bench: Bench) -> None:
    """Steps, appending, sealing and verifying on SQLite; then the lag of sealing."""
    for io in ("memory", "files"):
        ways = [partial(once, bench, chain(bench.sizes.steps, io), audited=audited) for audited in (True, False)]
        audited, plain = bench.alternating(*ways)
        bench.report(f"audit adds to a no-op step, {io} IO", "us", beyond(audited, plain), floor=plain, floor_is="without audit")
    _append(bench)
    for size in bench.sizes.entries:
        _verify(bench, size)
    _lag(bench)


def _append(bench: Bench) -> None:
    def appended(together: int) -> Took:
        with closing(Log(bench.scratch())) as log:
            log.append(together, together)
            stop = stopwatch(1e6 / bench.sizes.lines)
            log.append(bench.sizes.lines, together)
            return stop()

    for together in (1, min(TOGETHER, bench.sizes.lines)):
        (taken,) = bench.alternating(lambda together=together: appended(together))
        bench.report(f"append, {together} in a transaction", "us/entry", taken)


def _verify(bench: Bench, size: int) -> None:
    """A log of that many entries: sealed once, verified in processes of their own."""
    folder = bench.scratch()
    with closing(Log(folder)) as log:
        log.append(size, min(size, 5_000))
        began = time.perf_counter()
        sealed = log.seal()
        bench.report(f"seal {size:,}", "entries/s", [sealed / (time.perf_counter() - began)])
    said = [process(_VERIFY, str(folder), PYTHONPATH=_path()) for _ in range(min(3, bench.sizes.repetitions))]
    alone, folded, grown = zip(*[list(map(float, line.split())) for line in said], strict=True)
    bench.report(f"verify {size:,}", "us/entry", alone, budget=Budget(10))
    case = f"verify {size:,}, and fold what they tell"
    bench.report(case, "us/entry", folded, floor=alone, floor_is="the log alone", grows_mb=round(max(grown) / 1024))


def _lag(bench: Bench) -> None:
    """Entries that come at a steady rate: how long until a signed head covers each of them."""
    found = new_store(bench, audited=True)
    count = max(RATE, bench.sizes.lines * 5) if bench.sizes.lines > RATE else 10
    with FlowStone(chain(2, "memory"), settings=found) as flow:
        flow.run().raise_if_failed()
        services = flow._deployment.services()
        database, began = services.database, time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            with database.transaction() as tx:
                act = Act("bench.done", f"bench:{number}", "success", {})
                services.audit.tell(tx, act, Who("bench", "os"), database.now(), version=1)
        time.sleep(2)
        with database.reading() as connection:
            question = (
                "SELECT (SELECT min(h.at) FROM audit_head h WHERE h.size > s.seq) - e.at FROM audit_entry e "
                "JOIN audit_seal s ON s.entry = e.id WHERE e.action = 'bench.done'"
            )
            lags = sorted(row[0] / 1e9 for row in connection.exec_driver_sql(question))
    assert len(lags) == count
    bench.report(f"seal lag at {RATE} entries/s, 99th of 100", "s", [lags[len(lags) * 99 // 100]], budget=Budget(2))


def writers(bench: Bench) -> None:
    """Eight processes that write to one PostgreSQL: without a log, with it, and with one chain that all have to lock."""
    if not is_there():
        return
    import psycopg

    with server() as url:
        with closing(Database(url, Dispatcher(), SystemClock())) as database, psycopg.connect(url, autocommit=True) as connection:
            begin_log(database, "bench")
            connection.execute("CREATE TABLE IF NOT EXISTS bench_head (hash text)")
            connection.execute("DELETE FROM bench_head")
            connection.execute("INSERT INTO bench_head VALUES ('x')")
        ways = [partial(_together, url, how, bench) for how in ("plain", "audited", "chained")]
        plain, audited, chained = bench.alternating(*ways)
    unit, case = "changes/s", f"{WRITERS} writers, PostgreSQL"
    bench.report(f"{case}, audited", unit, audited, floor=plain, floor_is="without audit")
    bench.report(f"{case}, audited, beside a chain", unit, audited, floor=chained, floor_is="one chain of hashes, locked by each")


def _together(url: str, how: str, bench: Bench) -> float:
    count = bench.sizes.chain
    environment = {**os.environ, "PYTHONPATH": _path()}
    command = [sys.executable, "-c", _WRITE, url]
    started = [
        subprocess.Popen([*command, how, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(WRITERS)
    ]
    assert {_line(each) for each in started} == {"ready\n"}
    began = time.perf_counter()
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert {_line(each) for each in started} == {"done\n"}
    took = time.perf_counter() - began
    for each in started:
        each.communicate()
    return WRITERS * count / took


def _path() -> str:
    """Where the processes that are measured find this module."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()
