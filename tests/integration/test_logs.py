"""Lines are read by what they are, with what stands around them, and followed until nobody works on the run any more."""

from __future__ import annotations

import threading

import pytest

from flowstone import Pipeline, Retry, Static, asset
from flowstone.app import reading_logs
from flowstone.foundation.errors import UsageError
from flowstone.stores import logs as store
from flowstone.testing import MovableClock, isolated_flow


@asset(retries=Retry(attempts=2, delay=0))
def orders(ctx):
    for number in range(20):
        ctx.log.log(40 if number == 10 else 20, "line %d", number, extra={"number": number})
    if ctx.attempt == 1:
        raise TimeoutError


@asset(partitions=Static(["eu", "us"]))
def regions(ctx):
    print("of", ctx.partition)


@pytest.fixture
def place(tmp_path, database_url):
    def make(*assets, **options):
        pipeline = Pipeline("shop", assets) if assets else None
        return isolated_flow(pipeline, home=tmp_path, database_url=database_url, echo=lambda text: None, **options)

    return make


def test_lines_are_chosen_by_what_they_are(place):
    """Attempt, partition (key or its text), level, pattern and limit choose, alone and together; fields come with the lines."""
    with place(orders, regions) as flow:
        run = flow.run("orders").run_id
        two = [flow.run("regions", partition=key).run_id for key in ("eu", "us")]

        assert len(flow.logs(run)) == 40
        assert [line.attempt for line in flow.logs(run, attempt=2)] == [2] * 20
        assert [line.message for line in flow.logs(run, level="warning", attempt=1)] == ["line 10"]
        assert [line.message for line in flow.logs(run, grep=r"^line 1?3$", asset="orders", attempt=1)] == ["line 3", "line 13"]
        assert [line.fields for line in flow.logs(run, limit=2)] == [{"number": 0}, {"number": 1}]
        assert [line.message for line in flow.logs(two[0], partition="eu")] == ["of eu"]
        assert flow.logs(two[0], partition="us") == flow.logs(run, asset="nothing") == []


def test_lines_around_what_matches_come_with_it_once(place):
    """Context gives the lines before and after each match, each line once, however matches lie to each other."""
    with place(orders) as flow:
        run = flow.run().run_id

        def around(grep, context):
            return [int(line.message.split()[1]) for line in flow.logs(run, attempt=1, grep=grep, context=context)]

        assert around("line 10", 2) == [8, 9, 10, 11, 12]
        assert around("line (4|6|7|14)$", 1) == [3, 4, 5, 6, 7, 8, 13, 14, 15]
        assert around("line (0|19)$", 3) == [0, 1, 2, 3, 16, 17, 18, 19]
        assert around("nothing", 3) == []


def test_what_cannot_be_chosen_by_is_refused(place):
    """An unknown level, a malformed pattern, a negative context and an unknown run are each named."""
    with place(orders) as flow:
        run = flow.run().run_id
        for wrong, message in (
            ({"level": "loud"}, "level 'loud' is not known"),
            ({"grep": "("}, r"grep '\(' is no regular expression"),
            ({"context": -1}, "context=-1"),
        ):
            with pytest.raises(UsageError, match=message):
                flow.logs(run, **wrong)
        with pytest.raises(UsageError, match="there is no run 'run_nope'"):
            flow.logs("run_nope")


def test_pages_are_read_one_after_another(place, monkeypatch):
    """Never more than a page of lines is asked for at once, and none is missed at a page's end."""
    monkeypatch.setattr(reading_logs, "PAGE", 7)
    asked, read = [], store.read

    def counting(*arguments, **options):
        found = read(*arguments, **options)
        asked.append(len(found))
        return found

    monkeypatch.setattr(store, "read", counting)
    with place(orders) as flow:
        lines = flow.logs(flow.run().run_id)

    assert [line.message for line in lines] == [f"line {number}" for number in range(20)] * 2
    assert asked == [7, 7, 7, 7, 7, 5, 0]


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_a_run_is_followed_to_its_end(place, executor, monkeypatch):
    """A follower in another process's shoes sees every line in order, those of a body that still runs first, and then ends."""
    monkeypatch.setattr(reading_logs, "FOLLOW_SECONDS", 0.01)
    read, run_ids, seen = threading.Event(), [], []

    @asset
    def slow(ctx):
        run_ids.append(ctx.run_id)
        print("first")
        began.set()
        assert read.wait(30)
        print("last")

    @asset
    def later(slow):
        for number in range(100):
            print(number)

    began = threading.Event()
    with place(slow, later) as flow:
        working = threading.Thread(target=flow.run, kwargs={"executor": executor})
        working.start()
        assert began.wait(30)
        with place() as reader:
            for line in reader.follow_logs(run_ids[0]):
                seen.append(line.message)
                read.set()
        working.join()

    assert seen == ["first", "last", *map(str, range(100))]


def test_following_a_run_nobody_works_on_ends(place):
    """A run that has ended gives its lines and ends at once, without waiting."""

    class NoSleep(MovableClock):
        def sleep(self, seconds):
            raise AssertionError("it waited")

    with place(orders) as flow:
        run = flow.run().run_id
    with place(clock=NoSleep()) as reader:
        assert len(list(reader.follow_logs(run))) == 40
