"""Channels: what each kind of receiver is given, signatures, programs, and what must never be seen."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import pytest

from flowstone.foundation.channels import ChannelSettings
from flowstone.foundation.errors import SettingsError, UsageError
from flowstone.notifications import bodies, signing
from flowstone.notifications.channels import Undelivered
from flowstone.notifications.command import CommandChannel
from flowstone.notifications.hooks import channel_of
from flowstone.testing import MovableClock

CLOCK = MovableClock()
SECRETS = {"URL": "", "KEY": "whsec_" + "a2V5" * 8}


def made(settings, **secrets):
    """The channel of these settings, with these secrets."""
    return channel_of(settings, {**SECRETS, **secrets}.__getitem__, CLOCK.now_ns)


def texts(value):
    """Every text in a JSON value."""
    if isinstance(value, dict):
        return [found for item in value.values() for found in texts(item)]
    if isinstance(value, list):
        return [found for item in value for found in texts(item)]
    return [value] if isinstance(value, str) else []


def test_what_slack_is_given(receiver, message):
    """Blocks as Slack knows them: a header, fields, and the command; texts of ours link to nobody and emphasize nothing."""
    made(receiver.channel(type="slack")).send("ntf_1", message, 5)
    body = receiver.got[0].body

    assert set(body) == {"text", "blocks"}
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "context"]
    assert body["blocks"][0]["text"]["text"] == "shop (prod): nightly_sales ended <failed> & *bold*"
    assert body["text"] == "shop (prod): nightly_\u2060sales ended &lt;failed&gt; &amp; *\u2060bold*\u2060"
    assert body["blocks"][2]["elements"][0]["text"] == "next: flowstone show run_1"
    for element in [body["blocks"][1]["fields"][1], {"text": body["text"]}]:
        shown = element["text"].removeprefix("*failed*\n")
        assert not set("<>") & set(shown)
        assert all(shown[i + 1 : i + 2] == "\u2060" for i, mark in enumerate(shown) if mark in "*_~`")
    assert receiver.got[0].headers["idempotency-key"] == "ntf_1"


def test_what_teams_is_given(receiver, message):
    """One Adaptive Card in the shape of a workflow webhook, of text runs alone: they know no markup."""
    made(receiver.channel(type="teams")).send("ntf_1", message, 5)
    body = receiver.got[0].body
    card = body["attachments"][0]["content"]

    assert (body["type"], body["attachments"][0]["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for block in card["body"] for run in block["inlines"]} == {"TextRun"}
    assert [run["text"] for run in card["body"][0]["inlines"]] == ["shop (prod): nightly_sales ended <failed> & *bold*"]
    assert [run["text"] for run in card["body"][-1]["inlines"]] == ["next  ", "flowstone show run_1"]


@pytest.mark.parametrize("body", [bodies.slack, bodies.teams])
def test_no_text_is_too_long_for_its_receiver(body, message):
    """Long names are cut: a header has at most 150 characters, and a field of Slack 2,000."""
    long = type(message)(**{**json.loads(json.dumps(bodies_of(message))), "title": "x" * 999, "facts": {"failed": "&_" * 9_999}})

    assert max(len(text) for text in texts(body(long))) <= 9_000
    assert all(len(block["text"]["text"]) <= 150 for block in body(long).get("blocks", []) if block["type"] == "header")


def bodies_of(message):
    """The fields of a message."""
    return {name: getattr(message, name) for name in message.__struct_fields__}


def test_what_a_webhook_is_given(receiver, message):
    """Every field, the id and the time, signed over id, time and body, with the same id when it is sent again."""
    channel = made(receiver.channel(type="webhook", secret="secret:KEY"))
    channel.send("ntf_1", message, 5)
    channel.send("ntf_1", message, 5)
    first, second = receiver.got

    assert first.body == {
        "id": "ntf_1", "cause": "run.failed", "project": "shop", "environment": "prod", "title": message.title,
        "facts": message.facts, "command": "flowstone show run_1", "at": "2025-11-24T16:00:00.123Z",
    }  # fmt: skip
    for got in (first, second):
        assert signing.verify(SECRETS["KEY"], got.headers, got.raw, now=CLOCK.now_ns() / 1e9) == "ntf_1"
        assert got.headers["idempotency-key"] == got.headers["webhook-id"] == "ntf_1"


def test_the_signature_is_that_of_the_specification():
    """The worked example of Standard Webhooks comes out as it stands there."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'

    assert signing.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_receiver_refuses_what_was_changed():
    """Another body, id, time, secret or signature, a missing header and an old time are refused; several signatures may stand."""
    given = signing.headers("plain secret", "ntf_1", 1_000, b"body")
    others = [
        ("plain secret", given, b"body "), ("other", given, b"body"), ("plain secret", {**given, "webhook-id": "ntf_2"}, b"body"),
        ("plain secret", {**given, "webhook-timestamp": "1001"}, b"body"),
        ("plain secret", {**given, "webhook-signature": "v1,AAAA"}, b"body"),
        ("plain secret", {**given, "webhook-signature": "v1,é"}, b"body"),
        ("plain secret", {**given, "webhook-timestamp": "x"}, b"body"),
        *[("plain secret", {k: v for k, v in given.items() if k != name}, b"body") for name in given],
    ]  # fmt: skip
    for secret, headers, body in others:
        with pytest.raises(UsageError):
            signing.verify(secret, headers, body, now=1_000)
    for now in (1_301, 699):
        with pytest.raises(UsageError, match="more than 300 s"):
            signing.verify("plain secret", given, b"body", now=now)
    rotated = {name.title(): value for name, value in given.items()} | {
        "Webhook-Signature": f"v1,AAAA {given['webhook-signature']}"
    }

    assert signing.verify("plain secret", rotated, b"body", now=1_299) == "ntf_1"


@pytest.mark.parametrize("secret", ["whsec_", "whsec_***"])
def test_a_secret_that_is_none(secret):
    """A secret that says it is base64 and is not is told as such, without being shown."""
    with pytest.raises(UsageError) as refused:
        signing.sign(secret, "ntf_1", 1, b"")

    assert "is no base64" in refused.value.message
    assert "***" not in refused.value.message


def test_the_address_may_be_a_secret(receiver, message):
    """A URL that is a reference is resolved for each message and checked then; what is wrong with it does not show it."""
    settings = ChannelSettings("ops", "slack", url="secret:URL", allow_private=True, allow_http=True)
    made(settings, URL=receiver.url).send("ntf_1", message, 5)
    for url, said in [("ftp://x/token", "is no https"), ("https://u:token@x", "has a user"), ("no", "is no https")]:
        with pytest.raises(SettingsError, match=said) as refused:
            made(settings, URL=url).send("ntf_1", message, 5)
        assert "token" not in str(refused.value)
    with pytest.raises(UsageError, match="not encrypted"):
        made(ChannelSettings("ops", "slack", url="secret:URL", allow_private=True), URL=receiver.url).send("ntf_1", message, 5)
    with pytest.raises(Undelivered, match="not a public address"):
        made(ChannelSettings("ops", "slack", url="secret:URL", allow_http=True), URL=receiver.url).send("ntf_1", message, 5)

    assert len(receiver.got) == 1


# -- programs ---------------------------------------------------------------------------------------------------------------


def program(code, *arguments):
    """A channel that runs Python code."""
    return CommandChannel((sys.executable, "-S", "-c", code, *arguments))


def test_what_a_program_is_given(tmp_path, message):
    """The message is one JSON object on standard input; arguments are words that no shell reads."""
    file = tmp_path / "got.json"
    program("import sys; open(sys.argv[1], 'w').write(sys.argv[2] + sys.stdin.read())", str(file), "$HOME; *").send(
        "ntf_1", message, 60
    )
    words, _, body = file.read_text().partition("{")

    assert words == "$HOME; *"
    assert json.loads("{" + body) == bodies.plain("ntf_1", message)


def test_a_program_that_fails_is_told_with_the_first_line_of_its_complaint(message):
    """Exit codes other than 0 are failures; a complaint of any length is read, its first line kept, cut."""
    code = "import sys; sys.stderr.write('no such team\\n' + 'x' * 1_000_000); sys.exit(3)"
    with pytest.raises(Undelivered, match=r"ended with 3: no such team$"):
        program(code).send("ntf_1", message, 60)
    with pytest.raises(Undelivered) as refused:
        program("import sys; sys.stderr.write('y' * 1_000_000); sys.exit(1)").send("ntf_1", message, 60)

    assert len(refused.value.text) < 600


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(3600)",
        "import sys\nwhile True: sys.stderr.write('x' * 99)",
        "import os, time; os.close(2); time.sleep(3600)",
    ],
)
def test_a_program_that_does_not_end_is_ended(tmp_path, message, code):
    """Who is busy, floods its standard error, or closes it, is ended with everything it started."""
    child = tmp_path / "child"
    begun = f"import os, subprocess\nopen({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '3600']).pid))\n"
    with pytest.raises(Undelivered, match=r"was still busy after 1.5 s and was ended"):
        program(begun + code).send("ntf_1", message, 1.5)
    until = time.monotonic() + 30
    process = Path(f"/proc/{child.read_text()}/stat")
    while process.exists() and process.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until


def test_a_program_that_does_not_listen(message):
    """A program may ignore its input and end well; one that is not there is told."""
    program("import os; os.close(0)").send("ntf_1", message, 60)
    with pytest.raises(Undelivered, match="nowhere cannot be started: No such file"):
        CommandChannel(("/nowhere",)).send("ntf_1", message, 60)


def test_a_line_of_the_log(caplog, message):
    """The channel ``log`` is one line of the logger ``flowstone.notifications``."""
    with caplog.at_level(logging.WARNING, "flowstone.notifications"):
        made(ChannelSettings("log", "log")).send("ntf_1", message, 1)
    (record,) = caplog.records

    assert (record.name, record.levelname) == ("flowstone.notifications", "WARNING")
    assert record.getMessage().startswith("nightly_sales ended <failed>")
    assert record.getMessage().endswith("next: flowstone show run_1")
