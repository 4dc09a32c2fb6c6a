"""As a library FlowStone leaves its host as it was: a fresh process is looked at before and after everything it can do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEADLINE = 120  # seconds; a process that hangs fails its test

LOOK = """
import gc, json, locale, logging, multiprocessing, os, signal, sys, threading, warnings

def look():
    gc.collect()
    root = logging.getLogger()
    ours, assets = logging.getLogger("flowstone"), logging.getLogger("flowstone.asset")
    umask = os.umask(0); os.umask(umask)
    return {
        "root logger": [root.level, list(map(repr, root.handlers)), list(map(repr, root.filters)), root.disabled],
        "our logger": [ours.level, list(map(repr, ours.handlers)), ours.propagate],
        "asset logger": [assets.level, list(map(repr, assets.handlers)), assets.propagate],
        "logging classes": [logging.getLoggerClass().__name__, logging.getLogRecordFactory().__name__, logging.raiseExceptions],
        "signal handlers": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "wakeup descriptor": signal.set_wakeup_fd(-1),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "folder": os.getcwd(), "umask": umask, "environment": dict(os.environ), "search path": list(sys.path),
        "streams": [id(sys.stdout), id(sys.stderr), id(sys.stdin), id(sys.__stdout__)],
        "hooks": [repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook), repr(sys.displayhook)],
        "tracing": [repr(sys.gettrace()), repr(sys.getprofile()), sys.getswitchinterval(), sys.getrecursionlimit()],
        "locale": locale.setlocale(locale.LC_ALL), "warnings": [repr(item) for item in warnings.filters],
        "collector": [gc.isenabled(), gc.get_threshold(), len(gc.callbacks)],
        "audit and import": [list(map(repr, sys.meta_path)), list(map(repr, sys.path_hooks))],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": sorted(child.pid for child in multiprocessing.active_children()),
        "descriptors": sorted(described(number) for number in os.listdir("/proc/self/fd")),
    }

def described(number):
    try:
        return f"{number} {os.readlink(f'/proc/self/fd/{number}')}"
    except FileNotFoundError:
        return ""

def difference(before, after):
    return {key: [before[key], after[key]] for key in before if before[key] != after[key]}
"""

SHOP = """
from flowstone import Pipeline, Retry, asset, source

@asset(retries=Retry(attempts=2, delay=0))
def orders(ctx):
    print("printed by an asset")
    ctx.log.warning("logged by an asset")
    if ctx.attempt == 1:
        raise TimeoutError
    return [1, 2]

@asset
def total(orders):
    return sum(orders)

@asset
def broken(total):
    raise ValueError("no")

@asset
async def later():
    return 1

pipeline = Pipeline("p", [orders, total, broken, later, source("rates", version=lambda: "1")])
"""

USE = """
import asyncio
from pathlib import Path
from flowstone import FlowStone, FlowStoneError
from shop import pipeline

home, executor = sys.argv[1:3]

def use(where):
    with FlowStone(pipeline, home=where, project="manners", echo=lambda text: None) as flow:
        flow.attach("inline", "*", lambda event: None)
        flow.attach("queued", "*", lambda event: None, queued=True)
        flow.preview()
        result = flow.run(executor=executor if where != ":memory:" else "inline")
        assert [step.asset for step in result.failed] == ["broken"]
        asyncio.run(flow.arun("later", force=True))
        flow.status(), flow.explain("total"), flow.lineage("total"), flow.events(), flow.errors(), flow.doctor(), flow.graph()
        flow.get("total"), flow.get_bytes("total"), flow.invalidate("total")
        try:
            flow.run("nothing of that name")
        except FlowStoneError:
            pass

Path(home).mkdir()
use(home + "/first")  # what libraries load and open once is not what is looked at
before = look()
use(home + "/second")
use(":memory:")
after = look()
print(json.dumps(difference(before, after)))
"""

PIPELINE_MODULE = """
from flowstone import Pipeline, asset

@asset
def a():
    return 1

pipeline = Pipeline("p", [a])
"""


def python(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a fresh interpreter."""
    (folder / "shop.py").write_text(SHOP)
    (folder / "program.py").write_text(code)
    return subprocess.run(
        [sys.executable, "-W", "error", "program.py", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_everything_is_as_it_was_after_use(tmp_path, executor):
    """Runs, questions and failures leave logging, signals, environment, threads, children and descriptors as they were."""
    said = python(tmp_path, LOOK + USE, str(tmp_path / "home"), executor)

    assert said.stderr == ""
    assert said.returncode == 0
    assert json.loads(said.stdout) == {}


def test_importing_changes_nothing_and_says_nothing(tmp_path):
    """``import flowstone`` and declaring a pipeline leave the process as it was, open no file and start no thread."""
    code = "before = look()\n" + PIPELINE_MODULE + "\nprint(json.dumps(difference(before, look())))"
    said = python(tmp_path, LOOK + code)

    assert said.stderr == ""
    assert json.loads(said.stdout) == {}


def test_a_library_prints_nothing(tmp_path):
    """Failures, retries and events are not printed: where logging is not set up, only what assets print appears."""
    code = USE.replace("echo=lambda text: None", "").replace("print(json.dumps(difference(before, after)))", "")
    said = python(tmp_path, LOOK + code, str(tmp_path / "home"), "inline")

    assert said.returncode == 0
    assert set(said.stdout.splitlines()) == {"printed by an asset"}
    assert said.stderr == ""


def test_a_host_that_configured_its_logging_keeps_it(tmp_path):
    """Handlers, levels and formats of the host stay, and FlowStone's records reach them once."""
    code = (
        """
import io, logging
from flowstone import FlowStone
stream = io.StringIO()
logging.basicConfig(stream=stream, level=logging.INFO, format="HOST %(name)s %(message)s")
"""
        + PIPELINE_MODULE.replace("return 1", "import logging; logging.getLogger('acme').info('mine'); return 1")
        + """
before = look()
with FlowStone(pipeline, home=":memory:") as flow:
    flow.run()
assert difference(before, look()) == {}, difference(before, look())
lines = stream.getvalue().splitlines()
assert all(line.startswith("HOST ") for line in lines), lines
assert lines.count("HOST acme mine") == 1, lines
assert sum("A run began" in line for line in lines) == 1, lines
print("done")
"""
    )
    said = python(tmp_path, LOOK + code)

    assert (said.stdout, said.stderr) == ("done\n", "")


def test_a_thread_other_than_the_first_can_run(tmp_path):
    """A run in a thread sets no signal handler, which only the first thread may, and succeeds."""
    code = (
        PIPELINE_MODULE
        + """
import threading
from flowstone import FlowStone
results = []
def work():
    with FlowStone(pipeline, home="home") as flow:
        results.append(flow.run().status)
thread = threading.Thread(target=work)
thread.start(); thread.join()
print(results)
"""
    )
    said = python(tmp_path, code)

    assert (said.stdout, said.stderr) == ("['success']\n", "")


def test_a_pipeline_that_is_dropped_without_closing_is_no_trouble(tmp_path):
    """A FlowStone that nobody closes raises no warning and holds up no exit; the next process finds its records in order."""
    code = (
        PIPELINE_MODULE
        + """
from flowstone import FlowStone
flow = FlowStone(pipeline, home="home", project="p")
flow.attach("queued", "*", lambda event: None, queued=True)
print(flow.run().status)
"""
    )
    said = python(tmp_path, code)
    looked = python(
        tmp_path,
        'from flowstone import FlowStone\nwith FlowStone(home="home", project="p") as flow:\n'
        '    print([f.subject for f in flow.doctor() if f.level == "fail"])',
    )

    assert (said.stdout, said.stderr, said.returncode) == ("success\n", "", 0)
    assert (looked.stdout, looked.stderr) == ("[]\n", "")
