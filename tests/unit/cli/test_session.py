"""Which pipeline, which settings and which home a command line means."""

from __future__ import annotations

import pytest

TWO = """
from flowstone import Pipeline, asset

@asset
def one(): return 1

first = Pipeline("first", [one])
second = Pipeline("second", [one])
again = first
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, text, name="pipeline.py"):
    """Write a pipeline file and return its path as text."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def test_no_pipeline(cli, here):
    """A verb that needs the code says that there is none and how to name or start one."""
    said = cli("assets")

    assert said == (
        2,
        "",
        "error: there is no pipeline.py here or above\n  give -p FILE_OR_MODULE[:NAME], or start a project: flowstone init\n",
    )


def test_no_database_yet(cli, here):
    """Verbs that read say that there is no database yet and what creates it; ``status`` answers; nothing is created."""
    write(here, TWO)
    for verb in (
        ["runs"],
        ["errors"],
        ["events"],
        ["doctor"],
        ["get", "one"],
        ["show", "run_1"],
        ["invalidate", "one"],
        ["db", "info"],
        ["db", "upgrade"],
    ):
        said = cli(*verb)

        assert said.code == 2, verb
        assert "there is no database yet at sqlite" in said.err, verb
        assert said.err.endswith("flowstone run creates it\n"), verb
    assert cli("status").out.startswith("No assets yet: nothing was run in project ")
    assert list(here.glob(".flow*")) == []


def test_two_pipelines_in_one_file(cli, here):
    """A file with two pipelines is refused with the choices; a name chooses one; one object under two names is one."""
    write(here, TWO)
    said = cli("assets")

    assert said.code == 2
    assert "has 2 Pipelines\n  choose one: " in said.err
    assert "pipeline.py:second" in said.err
    assert cli("graph", "--json", "-p", "pipeline.py:second").json["pipeline"] == "second"
    write(here, TWO.replace('second = Pipeline("second", [one])', ""))
    assert cli("graph", "--json").json["pipeline"] == "first"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pipeline.py:frist", "has no 'frist'\n  did you mean 'first'?"),
        ("pipeline.py:one", "'one' in pipeline.py is no Pipeline but Asset\n  choose one: -p pipeline.py:first"),
        ("missing.py", "there is no file "),
        ("no_such_module_here", "there is no module 'no_such_module_here'\n"),
    ],
)
def test_a_pipeline_that_is_not_there(cli, here, reference, message):
    """A name, a file or a module that does not exist is named, with what does exist."""
    write(here, TWO)
    said = cli("assets", "-p", reference)

    assert said.code == 2
    assert message in said.err


def test_a_file_without_a_pipeline(cli, here):
    """A file without a pipeline is refused with the line it lacks."""
    write(here, "x = 1\n")

    assert 'has no Pipeline\n  a pipeline file ends with: pipeline = Pipeline("name", [assets])\n' in cli("assets").err


@pytest.mark.parametrize("body", ["1 / 0", "import no_such_library", "raise SystemExit(7)"])
def test_a_pipeline_that_raises(cli, here, body):
    """Code that raises while it is imported is named with its line, without a traceback; the exit code is 2."""
    write(here, f"x = 1\n{body}\n")
    said = cli("assets")

    assert said.code == 2
    assert "pipeline.py:2" in said.err
    assert "Traceback" not in said.err


def test_reading_never_imports_the_users_code(cli, own):
    """Verbs that read answer from the store, also when the pipeline file cannot be imported any more."""
    own.folder.joinpath("pipeline.py").write_text("raise SystemExit(7)\n")
    answers = [
        cli(*words)
        for words in (["status"], ["get", "total"], ["explain", "total"], ["lineage", "total"], ["show", own.runs[0]], ["doctor"])
    ]

    assert [answer.code for answer in answers] == [0] * 6
    assert cli("assets").code == 2


def test_home_is_beside_the_pipeline_or_the_settings(cli, own, monkeypatch):
    """From a folder below, and with ``-p`` from anywhere, the records are those beside the pipeline; ``--home`` overrides."""
    below = own.folder / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    expected = own.runs[::-1]

    assert [run["id"] for run in cli("runs", "--json").rows] == expected
    monkeypatch.chdir("/")
    assert [run["id"] for run in cli("-p", str(own.folder / "pipeline.py"), "runs", "--json").rows] == expected
    said = cli("runs", "--json", "--home", str(own.folder / ".flowstone"), "--project", own.folder.name)
    assert [run["id"] for run in said.rows] == expected


def test_settings_name_the_pipeline(cli, here, monkeypatch):
    """The pipeline of a settings file is relative to that file, and a named pipeline brings the settings above it."""
    write(here / "code", TWO, "flows.py")
    (here / "flowstone.toml").write_text('project = "named"\npipeline = "code/flows.py:second"\n')
    below = here / "code"
    monkeypatch.chdir(below)

    assert cli("graph", "--json").json["pipeline"] == "second"
    monkeypatch.chdir("/")
    rows = {row["key"]: row["value"] for row in cli("config", "show", "--json", "-p", str(below / "flows.py")).rows}
    assert (rows["project"], rows["home"]) == ("named", str(here / ".flowstone"))


def test_an_environment_can_be_chosen(cli, here):
    """``--env`` takes the environment's values; an undeclared one is refused with those that are."""
    (here / "flowstone.toml").write_text('project = "a"\n[environments.prod]\nproject = "b"\n')

    assert {row["key"]: row["value"] for row in cli("config", "show", "--json", "--env", "prod").rows}["project"] == "b"
    assert "there is no environment 'prdo'\n  did you mean 'prod'?" in cli("config", "show", "--env", "prdo").err


def test_bad_settings_are_named(cli, here):
    """An unknown key is refused by every verb with the closest key."""
    (here / "flowstone.toml").write_text("[logs]\nlevle = 'info'\n")

    for verb in ("status", "assets", "doctor"):
        said = cli(verb)
        assert (said.code, "unknown setting 'logs.levle'\n  did you mean 'logs.level'?" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "totl"], "has no asset 'totl'\n  did you mean 'total'?"),
        (["status", "totl"], "there is no asset 'totl'\n  did you mean 'total'?"),
        (["explain", "nothing_like_it"], "has no asset 'nothing_like_it'\n  known: orders, total"),
        (["assets", "totl"], "has no asset 'totl'\n  did you mean 'total'?"),
        (["lineage", "broken"], "broken has no value\n  flowstone run broken"),
        (["get", "daily", "--partition", "1999-01-01"], "daily has no value for partition '1999-01-01'\n  it has: 2020-02-03, "),
        (["get", "total", "--partition", "2020-02-03"], "asset 'total' has no partitions, but partition '2020-02-03' was given"),
        (["status", "--partition", "nope"], "nothing is known of partition 'nope'\n  known: "),
        (["show", "run_nope"], "there is no run 'run_nope'"),
        (["show", "run_"], "run 'run_' is ambiguous: run_"),
        (["show", "err_"], "there is more than one error 'err_'"),
        (["show", "out_"], "there is more than one output 'out_'"),
        (["show", "out_nope"], "there is no output 'out_nope'"),
        (["show", "total"], "'total' is no id\n  ids begin with run_, err_, grp_ or out_"),
        (["logs", "run_nope"], "there is no run 'run_nope'"),
        (["logs", "run_1", "--grep", "["], "grep '[' is no regular expression: "),
        (["events", "--run", "run_nope"], "there is no run 'run_nope'"),
        (["invalidate", "totl"], "has no asset 'totl'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_named(cli, shop, words, message):
    """Asking for what does not exist exits 2, names it, and says what does exist or what to do."""
    said = cli(*words)

    assert (said.code, said.out) == (2, "")
    assert message in said.err
