"""Messages of approvals: who is asked about what and until when, and how it ended; never what they are asked or answer."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.foundation.channels import CAUSES, ChannelSettings
from flowstone.notifications import bodies
from flowstone.notifications.message import Message
from flowstone.testing import MovableClock, isolated_settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = "canary-7f3a"
GATE = {"message": f"is {SECRET} right?", "approvers": ["ann", "group:reviewers"], "four_eyes": False, "timeout": "2h"}
DECISIONS = tuple(cause for cause in CAUSES if cause.startswith("checkpoint."))


def shop(**how):
    """A pipeline of one asset, about which people are asked."""

    @asset(approval=Approval(**{**GATE, **how}))
    def ledger(ctx):
        return ctx.ask_approval({"iban": SECRET}, context={"iban": SECRET}) if how.get("when") == "asked" else {"iban": SECRET}

    return Pipeline("shop", [ledger])


@pytest.fixture
def clock():
    """A clock that stands at noon."""
    return MovableClock(NOON)


@pytest.fixture
def opened(tmp_path, database_url, clock):
    """A function that opens what somebody runs and decides, with a channel that hears of approvals."""
    flows = []

    def open_(pipeline, actor="ann"):
        people = {"allow_asserted": True, "groups": {"reviewers": ("bob",)}}
        settings = isolated_settings(tmp_path, database_url=database_url, approvals=people)
        channels = {"log": ChannelSettings("log", "log", on=DECISIONS)}
        flows.append(FlowStone(pipeline, settings=dataclasses.replace(settings, channels=channels), actor=actor, clock=clock))
        return flows[-1]

    yield open_
    for flow in flows:
        flow.close()


def messages(flow):
    """Cause, title and facts of what was caused, oldest first."""
    return [(one.cause, one.payload["title"], one.payload["facts"]) for one in reversed(flow.notifications())]


def test_a_request_names_who_is_asked_until_when_and_the_next_command(opened):
    """The message of a request has asset, people, votes, digest, requester, deadline, and the command that shows it."""
    flow = opened(shop(quorum=2))
    run_id = flow.run().run_id
    (asked,) = flow.approvals.requests()
    (message,) = flow.notifications()

    assert (message.cause, message.subject) == ("checkpoint.requested", asked.id)
    assert message.payload["title"] == "ledger waits for approval"
    assert message.payload["facts"] == {
        "asset": "ledger", "approval": asked.id, "run": run_id, "asked": "ann, group reviewers", "votes needed": "2",
        "digest": asked.digest, "requested by": "ann", "until": "2026-11-23 14:00 UTC",
    }  # fmt: skip
    assert message.payload["command"] == f"flowstone approvals show {asked.id}"


def test_every_end_says_who_ended_it_and_how_long_it_took(opened, clock):
    """Approved by two, rejected and cancelled: one message each, which names who, and not why."""
    flow, bob = opened(shop(quorum=2)), opened(None, "bob")

    def ask():
        run_id = flow.run(force=True).run_id
        return run_id, flow.approvals.requests()[0].id

    _, approved = ask()
    clock.advance(timedelta(minutes=30))
    flow.approvals.approve(approved, f"because of {SECRET}")
    bob.approvals.approve(approved, SECRET)
    _, rejected = ask()
    bob.approvals.reject(rejected, f"no: {SECRET}")
    run_id, cancelled = ask()
    flow.cancel(run_id, reason=SECRET)
    told = {facts["approval"]: (title, facts) for cause, title, facts in messages(flow) if cause == "checkpoint.decided"}

    assert {id: (title, facts["by"], facts.get("votes"), facts.get("waited")) for id, (title, facts) in told.items()} == {
        approved: ("ledger was approved", "bob", "2", "30 min"),
        rejected: ("ledger was rejected", "bob", None, None),
        cancelled: ("ledger need not be approved any more", "ann", None, None),
    }


def test_time_reminds_escalates_and_ends_with_a_message_each(opened, clock):
    """A reminder at half time, others asked at the deadline, and the end: each is told once, with the new deadline."""
    flow = opened(shop(on_timeout="escalate", escalate_to=["chief"]))
    flow.run()
    for _ in range(5):
        clock.advance(timedelta(hours=1))
        assert flow.tick().ok
    told = [(cause.partition(".")[2], title, facts.get("asked"), facts.get("until")) for cause, title, facts in messages(flow)]

    assert told[0][:2] == ("requested", "ledger waits for approval")
    assert told[1] == ("reminded", "ledger still waits for approval", "ann, group reviewers", "2026-11-23 14:00 UTC")
    assert told[2] == ("escalated", "ledger still waits for approval: others are asked", "chief", "2026-11-23 16:00 UTC")
    assert told[-1][:2] == ("decided", "ledger was not approved in time")
    assert len(told) == len({cause for cause, *_ in told}) + 1, "it is reminded of again before the second deadline"


def test_a_yes_by_nobody_says_so(opened, clock):
    """A value that was taken because nobody decided is told as that, and by nobody."""
    flow = opened(shop(on_timeout="approve"))
    flow.run()
    clock.advance(timedelta(hours=3))
    flow.tick()
    cause, title, facts = messages(flow)[-1]

    assert (cause, title) == ("checkpoint.decided", "ledger was approved by nobody: its time was up")
    assert "by" not in facts


def test_nothing_of_the_value_the_question_or_the_answer_is_sent(opened, clock):
    """Neither value, message, context, nor comment is in any message, nor in any body a channel would send."""
    flow = opened(shop(when="asked"))
    flow.run()
    (asked,) = flow.approvals.requests()
    flow.approvals.approve(asked.id, f"because of {SECRET}")
    sent = [
        json.dumps(body)
        for one in flow.notifications()
        for message in [Message(**one.payload)]
        for body in (bodies.plain(one.id, message), bodies.slack(message), bodies.teams(message))
    ]

    assert len(sent) == 2 * 3
    assert [text for text in sent if SECRET in text or "iban" in text] == []


def test_a_weakened_control_is_told(opened):
    """Who makes decisions depend on a mere word is named in a message, with the setting."""
    settings_heard = ChannelSettings("log", "log", on=("control.weakened",))
    flow = opened(shop())
    flow._deployment._outbox._listening = {"log": settings_heard.on}
    flow.run()
    (message,) = flow.notifications()

    assert message.cause == "control.weakened"
    assert message.payload["title"] == "approvals.allow_asserted protects less"
    assert message.payload["facts"] == {"control": "approvals.allow_asserted", "by": "ann"}
    assert message.payload["command"] == "flowstone audit list --action control.weakened"
