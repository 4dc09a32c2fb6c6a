"""How errors leave the process: an exit code and a clear text on standard error."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import click
import pytest

from flowstone.cli.grammar import Verb
from flowstone.cli.main import VERBS, Terminated
from flowstone.foundation.errors import DatabaseError, RunFailedError, ValidationError


@pytest.fixture
def boom(cli, monkeypatch):
    """A function that runs a verb which raises what it is given."""

    def run(error):
        @click.command()
        def command():
            raise error

        monkeypatch.setitem(VERBS, "boom", Verb("verb_of_a_test:boom", "", ""))
        monkeypatch.setitem(sys.modules, "verb_of_a_test", SimpleNamespace(boom=command))
        return cli("boom")

    return run


def with_run(error):
    """The error as the engine raises it: with the run that waits to be resumed."""
    error.run_id = "run_1"
    return error


def test_bad_input_and_bad_places_exit_2(boom):
    """FlowStone's own errors exit 2 with their message and hint."""
    said = boom(DatabaseError("the disk is full", hint="free some space"))

    assert said == (2, "", "error: the disk is full\n  free some space\n")


def test_a_failed_materialization_exits_1(boom):
    """A run that did not succeed exits 1."""
    assert boom(RunFailedError("run_1 ended failed")).code == 1


def test_every_problem_is_listed(boom):
    """The problems of an invalid pipeline are on lines of their own, and cannot move the cursor."""
    said = boom(ValidationError(problems=["a needs \x1b[2J", "b needs c"]))

    assert said.err == "error: 2 problems found:\n  - a needs \\x1b[2J\n  - b needs c\n"


def test_an_unexpected_error_is_called_a_bug(boom, monkeypatch):
    """What nobody foresaw exits 2 in two lines; the traceback is shown only with ``FLOWSTONE_DEBUG=1``."""
    said = boom(KeyError("x"))

    assert said.code == 2
    assert said.err == "error: KeyError: 'x'\n  this is a bug, please report it; FLOWSTONE_DEBUG=1 shows where it happened\n"
    monkeypatch.setenv("FLOWSTONE_DEBUG", "1")
    assert "Traceback (most recent call last)" in boom(KeyError("x")).err


def test_the_systems_errors_name_the_file(boom):
    """An error of the operating system names the file and what is wrong with it, and is not called a bug."""
    assert boom(PermissionError(13, "Permission denied", "a.db")) == (2, "", "error: a.db: Permission denied\n")


def test_an_interrupted_run_says_how_to_resume(boom):
    """Ctrl-C exits 130 and SIGTERM 143; the command that goes on with the run is printed."""
    said = boom(with_run(KeyboardInterrupt()))

    assert said == (130, "", "interrupted: run_1 waits to be resumed\n  flowstone run --resume run_1\n")
    assert boom(with_run(Terminated())).code == 143
    assert boom(KeyboardInterrupt()) == (130, "", "interrupted\n")
    assert boom(click.Abort()).code == 130


def test_a_run_that_stopped_on_an_error_says_how_to_resume(boom):
    """An error that suspended a run is followed by the command that goes on with it."""
    said = boom(with_run(DatabaseError("the disk is full")))

    assert said == (2, "", "error: the disk is full\n  run_1 waits to be resumed: flowstone run --resume run_1\n")
