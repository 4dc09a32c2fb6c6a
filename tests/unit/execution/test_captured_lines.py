"""Users' log lines and prints: kept with their attempt, readable while it runs, and bounded."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace

from flowstone import FlowStone, Pipeline, Retry, asset
from flowstone.execution import lines
from flowstone.testing import isolated_settings


def test_lines_are_kept_with_their_attempt(flow):
    """Each attempt has its own prints, log records and standard error, in order, redacted, with level and logger."""

    @asset(retries=Retry(attempts=2, delay=0))
    def talks(ctx):
        ctx.log.warning("login with token=%s", "abcdef")
        print("two\nlines", end="")
        print(" and more", file=sys.stderr)
        logging.getLogger("acme").error("%d left", 1)
        if ctx.attempt == 1:
            raise TimeoutError
        return 1

    made = flow(Pipeline("p", [talks]))
    result = made.run()
    kept = made.logs(result.run_id, asset="talks")

    assert [(line.level, line.logger, line.message) for line in kept if line.attempt == 2] == [
        ("warning", "flowstone.asset.talks", "login with token=[redacted]"),
        ("info", "stdout", "two"),
        ("info", "stderr", " and more"),
        ("error", "acme", "1 left"),
        ("info", "stdout", "lines"),
    ]
    assert [line.attempt for line in kept] == [1] * 5 + [2] * 5


def test_lines_can_be_read_while_the_attempt_runs(flow, tmp_path, monkeypatch):
    """A reader beside the run finds the lines before the attempt has ended."""
    monkeypatch.setattr(lines, "EVERY_SECONDS", 0.02)
    reader = flow(home=tmp_path)

    @asset
    def slow(ctx):
        print("halfway")
        until = time.monotonic() + 10
        while not (found := reader.logs(ctx.run_id)) and time.monotonic() < until:
            pass
        return [line.message for line in found]

    made = flow(Pipeline("p", [slow]), home=tmp_path)
    result = made.run()

    assert made.get("slow") == ["halfway"]
    assert [line.message for line in made.logs(result.run_id)] == ["halfway"]


def test_an_attempt_that_talks_too_much_is_cut(tmp_path):
    """Over the limit, one line says that the rest was dropped; a very long line is cut."""

    @asset
    def talks():
        print("x" * 20_000)
        for number in range(50):
            print(number)
        return 1

    settings = isolated_settings()
    settings = replace(settings, logs=replace(settings.logs, max_lines=5))
    with FlowStone(Pipeline("p", [talks]), settings=settings, echo=lambda text: None) as made:
        kept = [line.message for line in made.logs(made.run().run_id)]

    assert kept[1:] == ["0", "1", "2", "3", "more than 5 lines: the rest of this attempt's lines are dropped"]
    assert len(kept[0]) < 17_000


def test_a_reader_that_has_gone_away_does_not_fail_the_attempt(flow):
    """A broken pipe behind ``print`` is no error of user code; the line is kept."""

    def gone(text):
        raise BrokenPipeError

    @asset
    def talks():
        print("hello")
        return 1

    made = flow(Pipeline("p", [talks]), echo=gone)
    result = made.run()

    assert result.ok
    assert [line.message for line in made.logs(result.run_id)] == ["hello"]


def test_a_run_leaves_the_streams_and_loggers_as_they_were(flow):
    """After a run, also one that was interrupted, standard output and the root logger are what they were."""

    @asset
    def stops():
        raise KeyboardInterrupt

    before = (sys.stdout, sys.stderr, list(logging.getLogger().handlers))
    try:
        flow(Pipeline("p", [stops])).run()
    except KeyboardInterrupt:
        after = (sys.stdout, sys.stderr, list(logging.getLogger().handlers))

    assert after == before
