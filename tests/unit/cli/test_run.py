"""The verbs that work: run, init; and what the console says of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstone.cli import words

PIPELINE = """
from flowstone import Pipeline, Retry, asset

tries = []


@asset
def first(ctx):
    print("hello \\x1b[31mred")
    ctx.summary("1 thing")
    return 1


@asset(retries=Retry(attempts=3, delay=0.01))
def second(first):
    tries.append(1)
    if len(tries) == 1:
        raise TimeoutError("slow\\nline")
    return first + 1


@asset
def wrong(first):
    raise ValueError("no")


@asset
def behind(wrong):
    return 1


pipeline = Pipeline("p", [first, second, wrong, behind])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty project folder with a pipeline, as the working directory."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(f"  {name} "))


def test_a_run_tells_each_ending_in_words(cli, folder):
    """Done, failed and skipped stand in words, the retry under its row, and a failure is exit 1 with where to look."""
    said = cli("run")

    assert said.code == 1
    assert "done     1 thing" in row(said.out, "first")
    assert row(said.out, "second").endswith("attempt 2 of 3")
    assert "attempt 1: TimeoutError slow\\nline, retried after 0.01 s" in said.out
    assert "failed   ValueError: no" in row(said.out, "wrong")
    assert "skipped  upstream wrong failed" in row(said.out, "behind")
    assert "partial: 2 done, 1 skipped, 1 failed" in said.out
    assert "flowstone explain wrong" in said.out


def test_what_assets_print_is_shown_once_and_escaped(cli, folder):
    """A print is passed on as a marked line whose control characters cannot reach the terminal, and kept once."""
    said = cli("run", "first")

    assert said.out.count("hello") == 1
    assert "\x1b[31m" not in said.out
    kept = cli("logs", cli("runs", "--json").rows[0]["id"], "--json").rows
    assert [line["msg"] for line in kept] == ["hello \x1b[31mred"]


def test_up_to_date_is_reused_and_forced_is_computed(cli, folder):
    """A second run reuses and says why; --force computes the target and takes its inputs as they are."""
    cli("run", "second")
    again = cli("run", "second")
    forced = cli("run", "second", "--force")

    assert again.code == 0
    assert "reused   code and inputs unchanged since" in row(again.out, "second")
    assert "done" in row(forced.out, "second")
    assert "reused" in row(forced.out, "first")


def test_a_dry_run_does_nothing(cli, folder):
    """--dry-run says what each step would do and why, and leaves no database."""
    said = cli("run", "--dry-run")

    assert said.code == 0
    assert "compute  has no value yet" in row(said.out, "first")
    assert "depends  reused only if first comes out the same" in row(said.out, "second")
    assert "Nothing was done." in said.out
    assert not (folder / ".flowstone").exists()


def test_a_forced_dry_run_computes_its_targets(cli, folder):
    """With --force the preview of a target is never that it might be reused."""
    cli("run", "second")
    said = cli("run", "second", "--force", "--dry-run")

    assert "compute  forced" in row(said.out, "second")
    assert "reuse" in row(said.out, "first")


def test_quiet_prints_what_failed_and_the_end(cli, folder):
    """With -q only failures have rows."""
    said = cli("run", "-q")

    assert "  first " not in said.out
    assert "failed   ValueError: no" in row(said.out, "wrong")
    assert "partial" in said.out


def test_resume_takes_nothing_else(cli, folder):
    """--resume with targets is refused before anything happens."""
    said = cli("run", "first", "--resume", "run_x")

    assert (said.code, said.out) == (2, "")
    assert "leave out targets" in said.err


def test_a_missing_input_without_deps_is_named(cli, folder):
    """--no-deps with an input that has no value is one error that names it and the way out."""
    said = cli("run", "second", "--no-deps")

    assert said.code == 2
    assert "required inputs have no value: first" in said.err


def test_init_starts_a_project_that_runs(cli, tmp_path, monkeypatch):
    """The files it writes are a project that runs at once; a second init overwrites nothing."""
    monkeypatch.chdir(tmp_path)
    written = cli("init", "new")
    before = (tmp_path / "new" / "pipeline.py").read_text()
    refused = cli("init", "new")
    monkeypatch.chdir(tmp_path / "new")

    assert (written.code, refused.code) == (0, 2)
    assert "exists already" in refused.err
    assert "cd new && flowstone run" in written.out
    assert (tmp_path / "new" / "pipeline.py").read_text() == before
    assert "2 done" in cli("run").out


def test_init_where_nothing_can_be_written_is_one_error(cli, tmp_path, monkeypatch):
    """A folder that cannot be made is one clear error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    said = cli("init", str(Path("file") / "below"))

    assert said.code == 2
    assert "cannot write to" in said.err


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345, "12 kB"),
        (999_600, "1.0 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes_are_said_in_the_largest_fitting_unit(size, said):
    """A size keeps two to three digits and its unit."""
    assert words.bytes_of(size) == said


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [(0, "0 ms"), (99_000_000, "99 ms"), (400_000_000, "0.4 s"), (59_600_000_000, "1 min 0 s"), (3_725_000_000_000, "1 h 2 min")],
)
def test_durations_are_said_in_the_unit_people_use(nanoseconds, said):
    """Milliseconds, seconds, minutes, hours: never 60 of one."""
    assert words.seconds(nanoseconds) == said
