"""The verbs: what they have in common, and that none of them loads before it is called."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from flowstone.cli.main import VERBS, flowstone

READING = [
    "status", "get", "explain", "lineage", "assets", "graph", "runs", "show", "errors", "logs", "events", "doctor",
    "approvals", "approvals list", "approvals show", "approvals history", "approvals policy",
    "config show", "db info", "tick", "notifications list",
]  # fmt: skip

PROBE = """
import sys
from flowstone.cli.main import execute
code = execute(["--help"])
heavy = {"sqlalchemy", "alembic", "rich", "pyarrow", "polars", "pandas", "numpy", "filelock", "flowstone.app.facade"}
print("LOADED", code, *sorted(heavy & set(sys.modules)))
"""


def command_of(words):
    """The command that the words of *words* name."""
    command = flowstone
    for word in words.split():
        command = command.get_command(click.Context(command), word)
    return command


def test_help_names_every_verb(cli):
    """``flowstone`` alone and with ``--help`` lists every verb with its line."""
    said = cli("--help")

    assert cli() == said
    assert [name for name, verb in VERBS.items() if f"  {name} " not in said.out or verb.line not in said.out] == []


def test_help_loads_nothing_heavy():
    """Asking for help loads no database, no frame and no terminal library, and not the facade."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "LOADED 0"


def test_the_version_is_printed(cli):
    """``--version`` prints the program's name and version."""
    assert cli("--version").out == f"flowstone {importlib.import_module('flowstone').__version__}\n"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_loads(name):
    """What the table names is a command with a help text, and it takes the shared options."""
    command = command_of(name)

    assert isinstance(command, click.Command)
    assert command.help
    assert {"given_pipeline", "given_environment", "given_actor", "given_home", "given_project"} <= {
        p.name for p in command.params
    }


@pytest.mark.parametrize("words", READING)
def test_every_reading_verb_has_json(words):
    """Every verb that reads takes ``--json``."""
    assert "as_json" in {parameter.name for parameter in command_of(words).params}


def test_shared_options_stand_before_or_after_the_verb(cli, shop, tmp_path, monkeypatch):
    """``-p`` and the others mean the same before and after the verb; given twice, the later one wins."""
    monkeypatch.chdir(tmp_path)
    file = str(shop.folder / "pipeline.py")
    after = cli("runs", "--json", "-p", file)

    assert [run["id"] for run in after.rows] == shop.runs[::-1]
    assert cli("-p", file, "runs", "--json") == after
    assert cli("-p", "missing.py", "runs", "--json", "--pipeline", file) == after
    assert (
        cli("--home", "elsewhere", "config", "show", "--json").out == cli("config", "show", "--home", "elsewhere", "--json").out
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "error: there is no verb 'statsu'\n  did you mean 'status'?\n"),
        (
            ["graph", "--format", "png"],
            "error: Invalid value for '--format': 'png' is not one of 'text', 'mermaid', 'dot'.\n  flowstone graph --help\n",
        ),
        (["get"], "error: Missing argument 'ASSET'.\n  flowstone get --help\n"),
        (
            ["runs", "--limit", "0"],
            "error: Invalid value for '--limit': 0 is not in the range 1<=x<=100000.\n  flowstone runs --help\n",
        ),
        (["--as", " ", "runs"], "error: Invalid value for '--as': a text is needed\n  flowstone --help\n"),
    ],
    ids=["verb", "choice", "argument", "value", "empty"],
)
def test_what_is_not_understood_is_named(cli, arguments, said):
    """A mistyped command line exits 2 with one clear error and where to read on."""
    answer = cli(*arguments)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err == said
