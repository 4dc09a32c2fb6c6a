"""Whatever the code of an asset does to its process, FlowStone's records stay true and its neighbours do their work."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowstone import FlowStone

DEADLINE = 120  # seconds; a process that hangs fails its test

HEAD = """
import asyncio, io, os, signal, sys, threading, time, types
from pathlib import Path
from flowstone import FlowStoneError, Pipeline, asset

class Mute(Exception):
    def __str__(self): raise RuntimeError
    __repr__ = __str__
    def __reduce__(self): raise RuntimeError

class Odd(BaseException): pass

class Careless(FlowStoneError):
    def __init__(self): pass

def fall(depth):
    if depth: fall(depth - 1)
    raise ValueError("the bottom")

def forever(): forever()

def raising(error):
    raise error

def caused_by_itself():
    error = ValueError("round")
    error.__cause__ = error
    raise error

def with_notes():
    error = ValueError("noted")
    error.add_note("n" * 1_000_000)
    error.__notes__.append(3)
    raise error

def deep():
    sys.setrecursionlimit(20_000)
    fall(5_000)

def mixed():
    yield "a"
    yield 1

def breaks_off():
    yield "a"
    raise ValueError("in the middle")

def cyclic():
    value = []
    value.append(value)
    return value

@asset
def before(): return 1
"""

RAISED = {
    "raising(Mute())": "Mute", "deep()": "ValueError", "forever()": "RecursionError", "caused_by_itself()": "ValueError",
    "with_notes()": "ValueError", "raising(ExceptionGroup('g', [ValueError(1), KeyError('b')]))": "ExceptionGroup",
    "raising(BaseExceptionGroup('g', [SystemExit(1)]))": "BaseExceptionGroup",
    "raising(ValueError('x' * 10_000_000))": "ValueError",
    "sys.exit(0)": "execution_failed", "sys.exit('bye')": "execution_failed", "raising(Odd('odd'))": "Odd",
    "raising(GeneratorExit())": "execution_failed", "raising(asyncio.CancelledError())": "execution_failed",
    "raising(Careless())": "flowstone_error", "raising(OSError(28, 'No space left'))": "OSError",
    "raising(MemoryError())": "MemoryError",
    "raising(ValueError('half \\udcff'))": "ValueError", "raising(StopIteration(3))": "StopIteration",
}  # fmt: skip
"""What a body does, and the type its error is recorded under."""

UNSTORABLE = [
    "object()", "lambda: 1", "int", "float('nan')", "cyclic()", "'half \\udcff'", "10**5000", "{1: 2}", "1j", "os",
    "open('/dev/null')",
    "ValueError(1)", "...", "Path('/not/there')", "Path('/')", "mixed()", "(i for i in range(3))", "[object()]", "{'a': {1}}",
]  # fmt: skip
"""Values no format holds."""


def pipeline(bodies: list[str]) -> str:
    """A pipeline with an asset ``odd<n>`` for each body, a statement or an expression to return, and one before and after."""
    lines, names = [HEAD], ["before"]
    for number, body in enumerate(bodies):
        statement = (
            body if "\n" in body or body.startswith(("yield", "return", "import", "os.", "sys.s", "signal")) else f"return {body}"
        )
        names.append(f"odd{number}")
        indented = statement.replace("\n", "\n    ")
        lines.append(f"@asset(deps={{'x': 'before'}})\ndef odd{number}(x):\n    {indented}\n")
    lines.append("@asset(deps={'x': 'before'})\ndef after(x):\n    print('after prints')\n    return 2\n")
    return "\n".join([*lines, f"pipeline = Pipeline('p', [{', '.join([*names, 'after'])}])\n"])


def run(folder: Path, *bodies: str, executor: str = "inline") -> subprocess.CompletedProcess[str]:
    """Run the pipeline of *bodies* in *folder* in a process of its own."""
    (folder / "pipeline.py").write_text(pipeline(list(bodies)))
    return subprocess.run(
        [sys.executable, "-m", "flowstone", "run", "--executor", executor],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=DEADLINE, check=False,
    )  # fmt: skip


@pytest.fixture
def records(tmp_path):
    """FlowStone on what the run in ``tmp_path`` left behind; opened when it is called, in good order when the test ends."""
    opened = []

    def look() -> FlowStone:
        opened.append(FlowStone(home=tmp_path / ".flowstone", project=tmp_path.name))
        return opened[-1]

    yield look
    for flow in opened:
        assert [finding for finding in flow.doctor() if finding.level == "fail"] == []
        flow.close()
    assert list((tmp_path / ".flowstone").rglob(".tmp-*")) == []


def statuses(flow: FlowStone) -> dict[str, tuple[str, str]]:
    """Status and reason of every step of the only run."""
    (only,) = flow.runs()
    return {row.asset: (row.status, row.reason) for row in flow.show(only.id).materializations}


def test_whatever_is_raised_fails_its_step_alone(tmp_path, records):
    """Errors that cannot be shown, are deep, huge, groups or exits fail their own step and are recorded; the rest runs."""
    ran = run(tmp_path, *RAISED)
    flow = records()
    found = statuses(flow)
    errors = {error.asset: error for error in flow.errors(limit=100)}

    assert (ran.returncode, ran.stderr) == (1, "")
    assert "Traceback" not in ran.stdout
    assert {name: status for name, (status, _) in found.items() if not name.startswith("odd")} == {
        "before": "success",
        "after": "success",
    }
    assert [found[f"odd{n}"] for n in range(len(RAISED))] == [("failed", reason) for reason in RAISED.values()]
    assert sorted(errors) == sorted(name for name in found if name.startswith("odd"))
    assert all(len(error.traceback) < 40_000 and len(error.message) < 20_000 for error in errors.values())
    assert [line.message for line in flow.logs(flow.runs()[0].id)] == ["after prints"]


def test_values_no_format_holds_fail_their_step_and_leave_no_file(tmp_path, records):
    """A value that cannot be stored is ``format_unsupported`` with a fix; what could be written of it is gone."""
    ran = run(tmp_path, *UNSTORABLE)
    flow = records()
    found = statuses(flow)

    assert (ran.returncode, ran.stderr) == (1, "")
    assert {found[f"odd{n}"] for n in range(len(UNSTORABLE))} == {("failed", "format_unsupported")}
    stored = [path.parts[-3] for path in (tmp_path / ".flowstone/outputs").rglob("*") if path.is_file()]
    assert sorted(stored) == ["after", "before"]
    assert {name for name in found if flow.explain(name).output is not None} == {"before", "after"}


def test_a_generator_that_breaks_off_leaves_nothing(tmp_path, records):
    """What was written of a stream whose code then raised is removed, and the error is the code's own."""
    assert run(tmp_path, "breaks_off()").returncode == 1
    flow = records()

    assert statuses(flow)["odd0"] == ("failed", "ValueError")
    assert not (tmp_path / ".flowstone/outputs/odd0").exists() or not any(
        path.is_file() for path in (tmp_path / ".flowstone/outputs/odd0").rglob("*")
    )


CHANGES = {
    "the working directory": "os.chdir('/')\nreturn 1",
    "the working directory, which is then removed": "import tempfile\nt = tempfile.mkdtemp()\nos.chdir(t)\nos.rmdir(t)\nreturn 1",
    "the umask": "os.umask(0o777)\nreturn 1",
    "the environment": "os.environ.clear()\nreturn 1",
    "the locale": "import locale\nlocale.setlocale(locale.LC_ALL, 'C')\nreturn 1",
    "signal handlers": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nreturn 1",
    "the recursion limit": "sys.setrecursionlimit(120)\nreturn 1",
    "the import path": "sys.path.clear()\nreturn 1",
    "logging": "import logging\nlogging.disable(logging.CRITICAL)\nlogging.getLogger().handlers.clear()\nreturn 1",
    "standard output, for another": "sys.stdout = io.StringIO()\nprint('lost')\nreturn 1",
    "standard streams, for nothing": "sys.stdout = sys.stderr = None\nreturn 1",
    "threads, one that outlives the run": "threading.Thread(target=time.sleep, args=(0.3,)).start()\nreturn 1",
    "daemon threads": "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nreturn 1",
    "hooks": "sys.excepthook = None\nsys.settrace(None)\nimport gc\ngc.disable()\nreturn 1",
}


def test_what_a_body_changes_in_its_process_harms_no_record(tmp_path, records):
    """Directory, umask, environment, signals, limits, paths, logging, streams and threads may change: every step is recorded."""
    ran = run(tmp_path, *CHANGES.values())
    flow = records()

    assert (ran.returncode, ran.stderr) == (0, "")
    assert {status for status, _ in statuses(flow).values()} == {"success"}
    assert f"{len(CHANGES) + 2} done" in ran.stdout, "the last lines are said where they belong"
    assert flow.get("after") == 2


FORKS = {
    "a child that returns": ("pid = os.fork()\nif pid == 0: return 'child'\nos.waitpid(pid, 0)\nreturn 'parent'", "parent"),
    "a child that exits": (
        "pid = os.fork()\nif pid == 0: sys.exit(7)\nreturn os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
        7,
    ),
    "a child that fails": (
        "pid = os.fork()\nif pid == 0: return 1 / 0\nreturn os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
        1,
    ),
    "a child that leaves": (
        "pid = os.fork()\nif pid == 0: os._exit(7)\nreturn os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
        7,
    ),
}


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_copy_of_the_process_records_nothing(tmp_path, records, executor):
    """A child made with ``os.fork`` that comes back ends there with its exit code: one attempt, one output, the parent's."""
    ran = run(tmp_path, *(body for body, _ in FORKS.values()), executor=executor)
    flow = records()
    attempts = flow.show(flow.runs()[0].id).attempts

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [flow.get(f"odd{n}") for n in range(len(FORKS))] == [value for _, value in FORKS.values()]
    assert len(attempts) == len(FORKS) + 2
    assert ran.stdout.count("odd0") == 1


CLOSED = {
    "descriptor 1": ("os.close(1)\nprint('hello')\nreturn 1", 141),
    "all three": ("os.closerange(0, 3)\nprint('hello')\nreturn 1", 141),
    "the stream": ("sys.stdout.close()\nreturn 1", 141),
}


@pytest.mark.parametrize("how", list(CLOSED))
def test_a_body_that_closes_standard_output_fails_nothing(tmp_path, records, how):
    """When an asset closes standard output every step is recorded; the exit code is the one of output that nobody reads."""
    body, code = CLOSED[how]
    ran = run(tmp_path, body)

    assert ran.returncode == code
    assert "Traceback" not in ran.stderr
    assert {status for status, _ in statuses(records()).values()} == {"success"}


def test_a_body_that_closes_everything_is_told_at_once_and_the_run_can_go_on(tmp_path, records):
    """Code that closes files that are not its own stops the run with one error; nothing false is recorded, and resume goes on."""
    (tmp_path / "pipeline.py").write_text(pipeline(["if not os.path.exists('mended'): os.closerange(3, 4096)\nreturn 1"]))
    first = subprocess.run(
        [sys.executable, "-m", "flowstone", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    (tmp_path / "mended").touch()
    command = first.stderr.splitlines()[-1].rpartition("flowstone run --resume ")
    second = subprocess.run(
        [sys.executable, "-m", "flowstone", "run", "--resume", command[2]],
        cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip

    assert first.returncode == 2
    assert "code in this process has closed files that were not its own" in first.stderr
    assert "Traceback" not in first.stderr
    assert (second.returncode, second.stderr) == (0, "")
    attempts = [(attempt.asset, attempt.status) for attempt in records().show(command[2]).attempts]
    assert sorted(attempts) == [("after", "success"), ("before", "success"), ("odd0", "lost"), ("odd0", "success")]


def test_an_interrupt_raised_by_a_body_is_an_interrupt(tmp_path, records):
    """``KeyboardInterrupt`` in a body is Ctrl-C: the attempt is cancelled, the run waits and can be resumed."""
    ran = run(tmp_path, "raising(KeyboardInterrupt())")
    flow = records()

    assert ran.returncode == 128 + signal.SIGINT
    assert ran.stderr.splitlines()[-1].strip() == f"flowstone run --resume {flow.runs()[0].id}"
    assert flow.runs()[0].status == "waiting"
