"""Settings come from one file, one environment, variables and arguments, in this order, and a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstone.foundation.clock import DAY
from flowstone.foundation.errors import SettingsError
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.setting_groups import AuditSettings, RetentionSettings
from flowstone.foundation.setting_keys import KEYS
from flowstone.foundation.settings import find_file, load


@pytest.fixture
def write(tmp_path):
    """Write a settings file into a fresh folder, and load from there."""

    def load_from(text, name="flowstone.toml", **given):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load(**{"start": tmp_path, "variables": {}, **given})

    return load_from


def refused(message, hint, call, *args, **given):
    with pytest.raises(SettingsError, match=message) as caught:
        call(*args, **given)
    if hint is not None:
        assert hint in caught.value.hint


def test_without_anything_the_defaults_hold(tmp_path):
    """With no file, variable or argument, everything is kept in ``.flowstone`` of the folder, named after it."""
    found = load(start=tmp_path, variables={})

    assert (found.file, found.environment, found.project, found.pipeline) == (None, None, tmp_path.name, None)
    assert found.home == tmp_path / ".flowstone"
    assert found.database_url == f"sqlite:///{tmp_path / '.flowstone' / 'flowstone.db'}"
    assert found.outputs.path == tmp_path / ".flowstone" / "outputs"
    assert (found.outputs.manager, found.outputs.durability) == ("files", "process")
    assert (found.logs.level, found.logs.format, found.logs.max_lines) == ("warning", "console", 10_000)
    assert {source for _, _, source in found.rows()} == {"default"}


def test_later_sources_win(write):
    """File, environment table, variables, arguments: each overrides those before it, and each value knows where it is from."""
    text = """
        project = "file"
        pipeline = "file.py"
        outputs.durability = "process"
        logs.level = "error"
        redaction.patterns = ["x+"]
        [environments.prod]
        pipeline = "prod.py"
        logs.level = "info"
        outputs.durability = "power"
    """
    variables = {"FLOWSTONE_LOGS_LEVEL": "debug", "FLOWSTONE_OUTPUTS_DURABILITY": "process"}
    found = write(text, environment="prod", variables=variables, arguments={"outputs.durability": "power", "project": None})

    assert (found.project, found.pipeline, found.logs.level, found.outputs.durability) == ("file", "prod.py", "debug", "power")
    assert found.redaction_patterns == ("x+",)
    assert found.environment == "prod"
    assert dict(found.sources) == {
        "project": "flowstone.toml", "pipeline": "environment prod", "logs.level": "environment variable",
        "outputs.durability": "argument", "redaction.patterns": "flowstone.toml",
    }  # fmt: skip
    assert ("logs.level", "debug", "environment variable") in found.rows()


def test_the_environment_can_be_named_by_a_variable(write):
    """``FLOWSTONE_ENV`` chooses the environment, and an argument overrides it."""
    text = "[environments.prod]\nproject = 'p'\n[environments.test]\nproject = 't'"
    variables = {"FLOWSTONE_ENV": "prod"}

    assert write(text, variables=variables).project == "p"
    assert write(text, variables=variables, environment="test").project == "t"


def test_an_unknown_environment_is_refused(write):
    """An environment that is not declared is an error with the closest, or all, that are."""
    text = "[environments.prod]\nproject = 'p'"

    refused("no environment 'prd'", "did you mean 'prod'?", write, text, environment="prd")
    refused("no environment 'zzz'", "declared: prod", write, text, environment="zzz")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("projet = 'x'", "unknown setting 'projet'", "did you mean 'project'?"),
        ("zzz = 1", "unknown setting 'zzz'", "known: project"),
        ("[logs]\nlevl = 'info'", r"unknown setting 'logs\.levl'", "did you mean 'logs.level'?"),
        ("[environments.prod]\nprojet = 'x'", r"\[environments\.prod\]: unknown setting 'projet'", "did you mean"),
        ("logs = 3", "logs = 3 must be a table", "[logs]"),
        ("config = 'x'", "config = 'x' must be a table", "[config]"),
        ("environments.prod = 3", "a table of settings is needed, not 3", None),
        ("environments = 3", "environments = 3 must be a table", "[environments.NAME]"),
        ("project = ''", "project = '': a text is needed", None),
        ("project = 3", "project = 3: a text is needed", None),
        ("logs.level = 'inf'", r"logs\.level = 'inf': one of debug, info", "did you mean 'info'?"),
        ("logs.max_lines = -1", r"logs\.max_lines = -1: a whole number", None),
        ("logs.max_lines = true", r"logs\.max_lines = True: a whole number", None),
        ("redaction.patterns = [1]", r"redaction\.patterns = \[1\]: a list of texts", None),
        ("redaction.patterns = ['(']", r"redaction\.patterns: '\(' is no regular expression", None),
        ("project = ", "is not valid TOML", None),
    ],
)
def test_a_wrong_setting_is_refused(write, text, message, hint):
    """Each mistake in a file is one error that names the setting, the value and the way out."""
    refused(message, hint, write, text, environment="prod" if "environments" in text else None)


def test_a_setting_in_place_of_the_table_is_refused(write):
    """``flowstone`` of a pyproject.toml must be a table."""
    refused("flowstone = 3 must be a table", "[tool.flowstone]", write, "[tool]\nflowstone = 3", name="pyproject.toml")


def test_an_unknown_variable_is_refused(tmp_path):
    """A variable that begins like ours and means nothing is an error; others, and those of the tests, are ignored."""
    given = {"start": tmp_path}

    refused("unknown environment variable FLOWSTONE_HOM", "FLOWSTONE_HOME", load, variables={"FLOWSTONE_HOM": "x"}, **given)
    assert load(variables={"FLOWSTONE_TEST_X": "1", "FLOWSTONE_ACTOR": "ann", "PATH": "x"}, **given).sources == {}


def test_every_setting_has_a_variable(tmp_path):
    """Each key can be given as ``FLOWSTONE_`` and its name in capitals, numbers and lists as text."""
    values = {
        "project": "p", "pipeline": "x.py", "home": str(tmp_path / "h"), "database.url": "sqlite:///x.db", "outputs.path": "out",
        "outputs.manager": "memory", "outputs.durability": "power", "logs.level": "info", "logs.format": "json",
        "logs.max_lines": "5", "logs.max_run_lines": "50", "redaction.patterns": "a|b", "audit.anchors": "log",
        "audit.enabled": "false", "audit.name": "warehouse", "audit.seal": "tick", "audit.strict": "TRUE",
        "audit.require_approval_for_weakening": "true",
        "run.executor": "thread", "run.jobs": "2",
        "run.grace": "5s", "retention.outputs": "7", "retention.events": "24h", "retention.logs": "all", "retention.errors": "1w",
        "telemetry.otel": "off", "metrics.max_series": "20", "metrics.token": "secret:TOKEN",
        "approvals.allow_asserted": "true", "approvals.allowed_signers": "keys", "approvals.machines": "robot",
        "approvals.groups": '{"reviewers": ["ann", "bob", "ann"]}',
    }  # fmt: skip
    assert values.keys() == KEYS.keys()
    found = load(start=tmp_path, variables={"FLOWSTONE_" + k.upper().replace(".", "_"): v for k, v in values.items()})

    assert (found.project, found.home, found.database_url) == ("p", tmp_path / "h", f"sqlite:///{tmp_path / 'x.db'}")
    assert (found.logs.format, found.logs.max_lines, found.redaction_patterns) == ("json", 5, ("a|b",))
    assert found.audit == AuditSettings(
        ("log",), enabled=False, name="warehouse", seal="tick", strict=True, require_approval_for_weakening=True
    )
    people = ApprovalSettings(True, tmp_path / "keys", {"reviewers": ("ann", "bob")}, ("robot",))
    assert found.approvals == people
    assert (found.logs.max_run_lines, found.retention) == (50, RetentionSettings(7, DAY, None, 7 * DAY))
    shown = [value for key, value, _ in found.rows() if key.startswith("retention.")]
    assert shown == [7, "1d", "all", "7d"]
    assert {source for _, _, source in found.rows()} == {"environment variable"}
    refused("logs.max_lines = 'many'", None, load, start=tmp_path, variables={"FLOWSTONE_LOGS_MAX_LINES": "many"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ann", "approvals.groups = 'ann' must be a table"),
        ('["ann"]', "approvals.groups = ['ann'] must be a table"),
        ({"reviewers": "ann"}, "approvals.groups.reviewers = 'ann' must be a list of names"),
        ({"reviewers": []}, "approvals.groups.reviewers = [] must be a list of names"),
        ({"reviewers": ["ann", 7]}, "approvals.groups.reviewers = ['ann', 7]: every name must be a printable text"),
        ({"reviewers": [" ann"]}, "approvals.groups.reviewers = [' ann']: every name must be a printable text"),
    ],
)
def test_groups_that_are_no_people_are_refused(tmp_path, value, text):
    """Groups are a table of lists of names, in a variable the text of one: anything else is an error with an example."""
    with pytest.raises(SettingsError) as failure:
        load(start=tmp_path, variables={}, arguments={"approvals.groups": value})

    assert failure.value.message == text
    assert "[approvals.groups]" in (failure.value.hint or "")


def test_groups_are_a_table_of_the_file(tmp_path):
    """People stand in the settings file, an environment replaces all groups, and they are shown as they were given."""
    text = '[approvals.groups]\nreviewers = ["ann", "bob"]\n[environments.test.approvals.groups]\nreviewers = ["robin"]\n'
    (tmp_path / "flowstone.toml").write_text(text)

    found, test = (load(start=tmp_path, variables={}, environment=environment) for environment in (None, "test"))

    assert found.approvals.groups == {"reviewers": ("ann", "bob")}
    assert test.approvals.groups == {"reviewers": ("robin",)}
    assert ("approvals.groups", {"reviewers": ["ann", "bob"]}, "flowstone.toml") in found.rows()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("outputs", 0, "retention.outputs = 0: a whole number of at least 1, or 'all', is needed"),
        ("outputs", "some", "retention.outputs = 'some': a whole number of at least 1, or 'all', is needed"),
        ("events", 90, "retention.events = 90: a length of time or 'all' is needed"),
        ("logs", "30", "retention.logs = '30': a length of time or 'all' is needed"),
        ("errors", True, "retention.errors = True: a length of time or 'all' is needed"),
    ],
)
def test_a_retention_that_is_none_is_refused(tmp_path, key, value, text):
    """What is kept is a number of versions, a length of time, or all: anything else is an error that says so."""
    with pytest.raises(SettingsError) as failure:
        load(start=tmp_path, variables={}, arguments={f"retention.{key}": value})

    assert failure.value.message == text


def test_the_file_is_found_upwards(tmp_path):
    """The nearest settings file above counts; a pyproject.toml counts when it speaks of FlowStone."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "flowstone.toml").write_text("")
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\n")
    assert find_file(below) == tmp_path / "flowstone.toml"

    (tmp_path / "a" / "pyproject.toml").write_text("[tool.flowstone]\nproject = 'mine'\n")
    assert find_file(below) == tmp_path / "a" / "pyproject.toml"
    assert load(start=below, variables={}).project == "mine"

    (tmp_path / "a" / "flowstone.toml").write_text("project = 'nearer'\n")
    assert load(start=below, variables={}).project == "nearer"


def test_paths_in_the_file_are_relative_to_it(write, tmp_path, monkeypatch):
    """Paths, a database's too, in the file are relative to it; those of a variable or argument to the working folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = write("home = 'kept'\noutputs.path = 'files'", start=here)
    assert (found.home, found.outputs.path) == (tmp_path / "kept", tmp_path / "files")
    assert found.project == tmp_path.name
    urls = {
        "sqlite:///a/b.db": f"sqlite:///{tmp_path / 'a/b.db'}",
        "sqlite:////a/b.db": "sqlite:////a/b.db",
        "sqlite://": "sqlite://",
    }
    for url, meant in urls.items():
        assert write(f"database.url = '{url}'", start=here).database_url == meant

    for given in ({"arguments": {"home": "kept"}}, {"variables": {"FLOWSTONE_HOME": "kept"}}):
        assert write("home = 'other'", start=here, **given).home == here / "kept"


def test_the_home_stands_beside_the_pipeline_without_a_file(tmp_path):
    """Without a settings file the folder of the pipeline is where things are kept."""
    found = load(start=tmp_path, beside=tmp_path / "project", variables={})

    assert found.home == tmp_path / "project" / ".flowstone"
    assert found.project == "project"


def test_in_memory_nothing_is_written(write):
    """``home = ":memory:"`` means a database and outputs in memory, unless a manager is chosen."""
    found = load(arguments={"home": ":memory:"}, variables={})
    assert (found.home, found.database_url, found.outputs.manager) == (None, "sqlite://", "memory")
    assert ("home", "(in memory)", "argument") in found.rows()

    assert write("outputs.manager = 'files'", arguments={"home": ":memory:"}).outputs.manager == "files"


def test_config_values_of_all_sources_are_one_table(write):
    """``[config]`` of the file, of the environment and variables are merged by key, values of any type kept."""
    text = "[config]\npython = '3.11'\nlimit = 5\n[environments.prod.config]\nlimit = 7"
    found = write(text, environment="prod", variables={"FLOWSTONE_CONFIG_REGION": "eu"}, arguments={"config.python": "3.12"})

    assert found.config == {"python": "3.12", "limit": 7, "region": "eu"}
    assert ("config.limit", 7, "environment prod") in found.rows()


def test_an_unreadable_file_is_told(tmp_path):
    """A file that is no text is an error that names it."""
    (tmp_path / "flowstone.toml").write_bytes(b"\xff\xfe")

    refused("flowstone.toml is not valid TOML", None, load, start=tmp_path, variables={})


def test_the_working_folder_is_the_default_start(tmp_path, monkeypatch):
    """Without a start the search begins in the working folder, and without variables in the process's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWSTONE_PROJECT", "mine")

    assert load().home == Path.cwd() / ".flowstone"
    assert load().project == "mine"


def test_who_seals_follows_from_the_database(tmp_path):
    """Unless it is set, whoever writes seals on SQLite, and on PostgreSQL a tick does."""
    server = {"database.url": "postgresql://user@host/name"}

    assert load(start=tmp_path, variables={}).audit.seal == "auto"
    assert load(start=tmp_path, variables={}, arguments=server).audit.seal == "tick"
    assert load(start=tmp_path, variables={}, arguments={**server, "audit.seal": "auto"}).audit.seal == "auto"


def test_a_flag_is_true_or_false(write):
    """Anything else than true and false is refused, by name."""
    refused("audit.enabled = 'maybe' is neither true nor false", "audit.enabled = true", write, 'audit.enabled = "maybe"')
