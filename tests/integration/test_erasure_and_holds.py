"""Erasing on purpose and holding against it: who, why, what goes with it, and who wins a race. On both databases."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from flowstone import FlowStone, Keys, Pipeline, asset, source
from flowstone.foundation.errors import HeldError, MissingOutputError, NotFoundError, StorageError, UsageError
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.testing import isolated_settings

VALUES = {"now": 1}


@asset(source=True, version=lambda: str(VALUES["now"]))
def people():
    return ["ann", VALUES["now"]]


@asset
def copy(people):
    return [*people, "copied"]


@asset
def report(copy):
    return len(copy)


@asset(partitions=Keys())
def shop(ctx):
    return ctx.partition


PIPELINE = Pipeline("p", [people, copy, report, shop, source("rates", version=lambda: "r1")])


@pytest.fixture
def made(tmp_path, database_url):
    """A project with three versions of each asset but the partitioned one, whose values differ."""
    settings = dataclasses.replace(isolated_settings(tmp_path / "home", database_url=database_url), retention=RetentionSettings())
    with FlowStone(PIPELINE, settings=settings, actor="ann") as flow:
        for VALUES["now"] in (1, 2, 3):
            flow.run(["report", "rates"]).raise_if_failed()
        yield flow


def files(flow, name):
    return sorted(path.name for path in (flow.settings.outputs.path / name).rglob("*.json"))


def told(flow, name):
    return [event.payload for event in flow.events(names=[name], limit=10_000)]


def test_erasing_takes_the_bytes_and_leaves_the_record(made):
    """The current output's bytes go, the pointer is withdrawn, the record stays, and the event says who and why."""
    before = made.outputs("people")[0].output
    gone = made.erase("people", reason="asked for by ann")
    after = made.outputs("people", which="gone")[0].output
    (event,) = told(made, "flowstone.output.erased")

    assert [o.id for o in gone.outputs] == [before.id] == [gone.current]
    assert [o.version for o in gone.kept] == [2, 1]
    assert sorted(o.asset for o in gone.downstream) == ["copy", "report"]
    assert (after.id, after.digest, after.gone) == (before.id, before.digest, "erased")
    assert (event["actor"], event["identity"], event["reason"]) == ("ann", "asserted", "asked for by ann")
    assert (event["output"], event["was_current"], event["digest"]) == (before.id, True, before.digest)
    assert len(files(made, "people")) == 2
    assert not made.exists("people")
    with pytest.raises(MissingOutputError, match=r"version 3 \(out_\w+\) were erased on"):
        made.get("people", run_id=before.run_id)
    assert [c.because for c in made.status("people")] == [("its bytes were erased",)]
    assert [f for f in made.doctor() if f.level in ("fail", "warn")] == []


def test_an_erased_value_is_not_reused(made):
    """The next run computes again what was erased: a new version with bytes of its own."""
    made.erase("people", reason="x")
    result = made.run("people")

    assert [step.asset for step in result.materialized] == ["people"]
    assert made.outputs("people")[0].output.version == 4
    assert made.get("people") == ["ann", 3]


def test_versions_with_the_same_bytes_go_together(made):
    """Bytes that two versions share are gone for good only when both are: the erasure says so and takes both."""
    made.run("people", force=True)
    gone = made.erase("people", reason="x")

    assert [o.version for o in gone.outputs] == [4, 3]
    assert gone.outputs[0].digest == gone.outputs[1].digest
    assert len(told(made, "flowstone.output.erased")) == 2
    assert len(files(made, "people")) == 1


def test_one_version_or_all_can_be_erased(made):
    """An older version is erased by its id and the current one stays; with all versions nothing is left."""
    old = made.outputs("people")[2].output
    gone = made.erase("people", output=old.id, reason="x")

    assert ([o.version for o in gone.outputs], gone.current) == ([1], "")
    assert made.get("people") == ["ann", 3]
    rest = made.erase("people", all_versions=True, reason="x")
    assert [o.version for o in rest.outputs] == [3, 2]
    assert (rest.kept, files(made, "people"), made.outputs("people")) == ([], [], [])


def test_a_dry_run_erases_nothing(made):
    """What would go is told, and nothing has changed."""
    planned = made.erase("people", reason="x", dry_run=True)

    assert [o.version for o in planned.outputs] == [3]
    assert (len(files(made, "people")), told(made, "flowstone.output.erased")) == (3, [])
    assert made.get("people") == ["ann", 3]


@pytest.mark.parametrize(
    ("request_", "error", "part"),
    [
        ({"asset": "nobody"}, NotFoundError, "no asset 'nobody'"),
        ({"asset": "rates"}, UsageError, "rates is observed only"),
        ({"asset": "people", "output": "out_zzz"}, NotFoundError, "no output 'out_zzz'"),
        ({"asset": "people", "reason": " "}, UsageError, "a reason of 1 to 1,000 characters"),
        ({"asset": "shop"}, UsageError, "asset 'shop' has partitions: say which one"),
    ],
)
def test_what_cannot_be_erased_is_one_clear_error(made, request_, error, part):
    """An unknown asset or output, an observed one, no reason, a partition not named: refused, and nothing has changed."""
    made.run("shop", partition="north")
    before = made.outputs()
    with pytest.raises(error, match=part):
        made.erase(**{"reason": "x", **request_})

    assert made.outputs() == before


def test_a_partition_is_erased_alone(made):
    """Only the partition that was named goes."""
    for key in ("north", "south"):
        made.run("shop", partition=key)
    made.erase("shop", partition="north", reason="x")

    assert (made.exists("shop", partition="north"), made.get("shop", partition="south")) == (False, "south")


@pytest.mark.parametrize("again", ["erase", "prune"])
def test_bytes_that_could_not_be_removed_are_said_and_removed_later(made, monkeypatch, again):
    """A file that cannot be removed is an error after the record: repeating the erasure, or a prune, removes it."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "x")

    old = made.outputs("people")[2].output
    with monkeypatch.context() as patched:
        patched.setattr("flowstone.io_managers.files.os.unlink", refuse)
        with pytest.raises(StorageError, match="1 of 1 outputs are recorded as erased, but their bytes could not be removed"):
            made.erase("people", output=old.id, reason="x")
    left = len(files(made, "people"))
    if again == "erase":
        made.erase("people", output=old.id, reason="x")
    else:
        made.prune()

    assert (left, len(files(made, "people"))) == (3, 2)
    assert [v.output.gone for v in made.outputs("people", which="gone")] == ["erased"]
    assert len(told(made, "flowstone.output.erased")) == 1


# -- holds ---------------------------------------------------------------------------------------------------------------


def held_by(flow):
    return {(v.output.asset, v.output.version) for v in flow.outputs() if v.hold is not None}


def test_a_hold_keeps_what_it_is_on(made):
    """An asset, a partition, an output, or all that a run made or reused: nothing else is held."""
    runs = [run.id for run in made.runs()]
    for key in ("north", "south"):
        made.run("shop", partition=key)
    one = made.outputs("people")[1].output
    everything = {(a, v) for a in ("people", "copy", "report") for v in (1, 2, 3)}
    cases = [
        ({"asset": "copy"}, {("copy", v) for v in (1, 2, 3)}),
        ({"output": one.id}, {("people", 2)}),
        ({"run_id": runs[2]}, {("people", 1), ("copy", 1), ("report", 1), ("rates", 1)}),
        ({"run_id": runs[0]}, {("people", 3), ("copy", 3), ("report", 3), ("rates", 1)}),  # rates was reused
    ]
    found = []
    for request_, _ in cases:
        hold = made.hold(**request_, reason="why")
        found.append(held_by(made))
        made.release(hold.id, reason="over")
    partition = made.hold("shop", partition="north", reason="why")

    assert found == [expected for _, expected in cases]
    assert [v.output.partition for v in made.outputs("shop") if v.hold] == [partition.partition]
    assert held_by(made) & everything == set()


def test_what_is_held_is_neither_erased_nor_collected(made):
    """A held output survives erasure and any number of newer versions; released, it goes."""
    first = made.outputs("people")[2].output
    hold = made.hold(output=first.id, reason="court case")
    with pytest.raises(HeldError) as refused:
        made.erase("people", output=first.id, reason="x")
    with pytest.raises(HeldError):
        made.erase("people", all_versions=True, reason="x")
    for VALUES["now"] in range(10, 14):
        made.run("people")

    assert "held by ann since" in str(refused.value)
    assert "court case" in str(refused.value)
    assert f"flowstone hold release {hold.id}" in str(refused.value)
    assert [v.output.version for v in made.outputs("people")] == [7, 6, 5, 1]
    assert made.get("people", run_id=first.run_id) == ["ann", 1]
    made.release(hold.id, reason="over")
    made.prune()
    assert [v.output.version for v in made.outputs("people")] == [7, 6, 5]


def test_holds_are_listed_with_who_and_why(made):
    """A hold and its release are recorded with actor and reason; a released one is listed only when that is asked for."""
    hold = made.hold("people", reason="case 7 password=abc")
    listed = made.holds()
    made.release(hold.id[:8], reason="closed")
    (added,), (released,) = told(made, "flowstone.hold.added"), told(made, "flowstone.hold.released")
    (after,) = made.holds(released=True)

    assert [(h.id, h.asset, h.actor, h.identity) for h in listed] == [(hold.id, "people", "ann", "asserted")]
    assert "abc" not in hold.reason
    assert made.holds() == []
    assert (after.released_by, after.released_at is not None) == ("ann", True)
    assert (added["reason"], released["reason"]) == (hold.reason, "closed")
    with pytest.raises(UsageError, match=f"{hold.id} was released by ann on"):
        made.release(hold.id, reason="again")
    assert len(told(made, "flowstone.hold.released")) == 1


@pytest.mark.parametrize(
    ("request_", "error", "part"),
    [
        ({}, UsageError, "a hold is on an asset, on an output or on a run"),
        ({"asset": "people", "run_id": "run_1"}, UsageError, "a hold is on an asset, on an output or on a run"),
        ({"output": "out_1", "partition": "x"}, UsageError, "a partition belongs to an asset"),
        ({"asset": "peopel"}, NotFoundError, "no asset 'peopel'"),
        ({"run_id": "run_none"}, NotFoundError, "there is no run 'run_none'"),
        ({"asset": "people", "reason": ""}, UsageError, "a reason of 1 to 1,000 characters"),
    ],
)
def test_a_hold_on_nothing_is_one_clear_error(made, request_, error, part):
    """A request that names nothing, too much, or what is not there is refused, and nothing is held."""
    with pytest.raises(error, match=part):
        made.hold(**{"reason": "x", **request_})

    assert made.holds(released=True) == []


def test_what_is_gone_cannot_be_held(made):
    """A hold on an output whose bytes are gone would promise what is not there."""
    gone = made.erase("people", reason="x").outputs[0]
    with pytest.raises(MissingOutputError, match=f"the bytes of {gone.id} are gone: erased on"):
        made.hold(output=gone.id, reason="x")

    assert made.holds(released=True) == []


def test_a_hold_and_an_erasure_at_once_have_one_winner(made):
    """Asked for at the same moment, either the output is held and has its bytes, or it is erased and nobody holds it."""
    for number in range(6):
        VALUES["now"] = 100 + number
        made.run("people")
        output = made.outputs("people")[0].output
        barrier, won = threading.Barrier(2), []

        def attempt(name, call, barrier=barrier, won=won):
            barrier.wait()
            try:
                call()
            except (HeldError, MissingOutputError):
                return
            won.append(name)

        calls = [
            ("hold", lambda output=output: made.hold(output=output.id, reason="x")),
            ("erase", lambda output=output: made.erase("people", output=output.id, reason="x")),
        ]
        threads = [threading.Thread(target=attempt, args=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        now = next(v for v in made.outputs("people", which="all") if v.output.id == output.id)

        assert len(won) == 1
        assert (now.output.gone, now.hold is not None) == (("", True) if won == ["hold"] else ("erased", False))


def test_what_a_function_wrote_itself_is_left_alone(tmp_path, database_url):
    """A file that users' code wrote is neither collected nor erased by FlowStone: the refusal says who has to do it."""
    target = tmp_path / "own.txt"

    @asset(source=True)
    def written(ctx):
        target.write_text(ctx.run_id)
        return ctx.written(target)

    settings = isolated_settings(tmp_path / "home", database_url=database_url)
    settings = dataclasses.replace(settings, retention=RetentionSettings(outputs=1))
    with FlowStone(Pipeline("p", [written]), settings=settings) as flow:
        for _ in range(3):
            flow.run().raise_if_failed()
        flow.prune()
        with pytest.raises(UsageError, match=r"does not delete own\.txt") as refused:
            flow.erase("written", reason="x")

        assert "flowstone invalidate written" in str(refused.value)
        assert [v.output.version for v in flow.outputs("written")] == [3, 2, 1]
        assert target.exists()
