"""FlowStone in a real notebook kernel: assets defined in cells, prints in the cell's output, and an interrupt that settles."""

from __future__ import annotations

import os
import re
from pathlib import Path
from queue import Empty
from typing import NamedTuple

import pytest
from jupyter_client.manager import KernelManager

WAIT = 40  # seconds; a kernel that does not answer fails its test


class Cell(NamedTuple):
    """What a cell gave back."""

    out: str
    err: str
    value: str
    error: str


class Notebook:
    """A kernel and what it says."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            cwd=str(folder), env={**os.environ, "IPYTHONDIR": str(folder / "ipython"), "PYTHONWARNINGS": ""}
        )
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WAIT)

    def run(self, code: str, *, interrupt_at: str = "") -> Cell:
        """Run one cell to its end; interrupt the kernel, as the stop button does, when *interrupt_at* is printed."""
        asked = self.client.execute(code)
        texts: dict[str, list[str]] = {"stdout": [], "stderr": [], "value": [], "error": []}
        while True:
            message = self.client.get_iopub_msg(timeout=WAIT)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                texts[content["name"]].append(content["text"])
                if interrupt_at and interrupt_at in content["text"]:
                    self.manager.interrupt_kernel()
            elif kind == "execute_result":
                texts["value"].append(content["data"]["text/plain"])
            elif kind == "error":
                texts["error"].append(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return Cell(*("".join(texts[name]) for name in ("stdout", "stderr", "value", "error")))

    def stop(self) -> None:
        """Shut the kernel down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """One kernel for every test of this file."""
    folder = tmp_path_factory.mktemp("notebook")
    started = Notebook(folder)
    yield started
    started.stop()


SETUP = """
from flowstone import FlowStone, Pipeline, asset

if "flow" in globals():
    flow.close()

@asset
def orders(ctx):
    print("reading orders")
    ctx.log.warning("three orders")
    ctx.summary("3 orders")
    return [1, 2, 3]

@asset
def total(orders):
    return sum(orders)

flow = FlowStone(Pipeline("shop", [orders, total]), home="kept", project="shop")
"""


def test_cells_define_run_and_show(notebook):
    """Assets defined in cells run, their prints appear in the output of the cell that ran them, and results read well."""
    assert notebook.run(SETUP) == Cell("", "", "", "")
    ran = notebook.run("result = flow.run()\nresult")
    read = notebook.run('flow.get("total"), [line.message for line in flow.logs(result.run_id)]')

    assert (ran.out, ran.error) == ("reading orders\n", "")
    assert re.fullmatch(r"RunResult run_\w+ success\n  materialized  orders, total", ran.value)
    assert read.value == "(6, ['reading orders', 'three orders'])"


def test_a_cell_that_is_run_again_uses_its_new_code(notebook):
    """A cell that defines the asset anew makes its value outdated; cells that were not changed are reused, by their code."""
    notebook.run(SETUP)
    notebook.run("flow.run(); flow.close()")
    changed = notebook.run(SETUP.replace("sum(orders)", "sum(orders) * 10") + "\nresult = flow.run()\n")
    seen = notebook.run("[s.asset for s in result.reused], [s.asset for s in result.materialized], flow.get('total')")

    assert changed.error == ""
    assert seen.value == "(['orders'], ['total'], 60)"


def test_results_that_are_not_good_read_well_too(notebook):
    """A failed run shows what failed and why in the cell, without a traceback; ``raise_if_failed`` is one error."""
    notebook.run(
        "from flowstone import FlowStone, Pipeline, asset\n"
        "broken = asset(name='broken')(lambda: 1 / 0)\n"
        "behind = asset(name='behind')(lambda broken: 1)\n"
        "bad = FlowStone(Pipeline('bad', [broken, behind]), home=':memory:')\n"
    )
    ran = notebook.run("result = bad.run()\nresult")
    raised = notebook.run("result.raise_if_failed()")

    assert (ran.out, ran.error) == ("", "")
    assert ran.value.splitlines()[1:] == [
        "  failed        broken: ZeroDivisionError: division by zero",
        "  skipped       behind: upstream_failed: upstream broken failed",
    ]
    assert raised.error.startswith("RunFailedError: ")
    assert "broken: ZeroDivisionError: division by zero" in raised.error


def test_a_cell_may_await(notebook):
    """In a notebook an event loop runs already: ``await flow.arun()`` and plain ``flow.run()`` both work in a cell."""
    notebook.run(
        "import asyncio\nfrom flowstone import FlowStone, Pipeline, asset\n"
        "async def slow():\n    await asyncio.sleep(0)\n    print('slept')\n    return 1\n"
        "later = FlowStone(Pipeline('later', [asset(name='slow')(slow)]), home=':memory:')\n"
    )
    awaited = notebook.run("(await later.arun()).status")
    plain = notebook.run("later.run(force=True).status")

    assert (awaited.out, awaited.value, awaited.error) == ("slept\n", "'success'", "")
    assert (plain.out, plain.value, plain.error) == ("slept\n", "'success'", "")


def test_the_stop_button_settles_the_run(notebook):
    """Interrupting the kernel ends the attempt, leaves the run waiting, and the next cell goes on with it."""
    notebook.run(
        "import time\nfrom flowstone import FlowStone, Pipeline, asset\n"
        "go = []\n"
        "@asset\ndef first():\n    return 1\n"
        "@asset\ndef patient(first):\n"
        "    print('begun', flush=True)\n"
        "    while not go:\n        time.sleep(0.01)\n"
        "    return 2\n"
        "slow = FlowStone(Pipeline('slow', [first, patient]), home='slow', project='slow')\n"
    )
    stopped = notebook.run("slow.run()", interrupt_at="begun")
    state = notebook.run("[r.status for r in slow.runs()], [f.subject for f in slow.doctor() if f.level == 'fail']")
    resumed = notebook.run("go.append(1)\nresult = slow.resume(slow.runs()[0].id)\nresult.status, slow.get('patient')")
    attempts = notebook.run("[(a.asset, a.status) for a in slow.show(result.run_id).attempts]")

    assert stopped.error.startswith("KeyboardInterrupt")
    assert state.value == "(['waiting'], [])"
    assert resumed.value == "('success', 2)"
    assert attempts.value == "[('first', 'success'), ('patient', 'cancelled'), ('patient', 'success')]"


def test_nothing_is_left_of_it_in_the_kernel(notebook):
    """After ``close`` no thread of FlowStone is left in the kernel, and prints go where they always went."""
    notebook.run("for name in ('flow', 'bad', 'later', 'slow'):\n    globals().get(name) and globals()[name].close()")
    left = notebook.run("import threading\nprint('here')\n[t.name for t in threading.enumerate() if 'flowstone' in t.name]")

    assert (left.out, left.value) == ("here\n", "[]")
    with pytest.raises(Empty):
        notebook.client.get_iopub_msg(timeout=0)
