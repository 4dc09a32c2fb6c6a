"""The JSON each kind of receiver understands. Texts of ours are shown as they are: nothing in them is markup."""

from __future__ import annotations

from typing import Any

from flowstone.foundation.clock import as_datetime
from flowstone.foundation.texts import cut
from flowstone.notifications.message import Message

TITLE, FACT = 140, 1_000


def plain(id: str, message: Message) -> dict[str, Any]:
    """The body of a webhook and the input of a command: every field of the message, its id, its time as ISO 8601."""
    at = as_datetime(message.at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": id, "cause": message.cause, "project": message.project, "environment": message.environment,
        "title": message.title, "facts": message.facts, "command": message.command, "at": at,
    }  # fmt: skip


def slack(message: Message) -> dict[str, Any]:
    """The body of a Slack incoming webhook: blocks, and a text for notifications.

    Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and its reference of blocks.
    """
    fields = [_slack_text(f"*{_slack_escaped(name)}*\n{_slack_escaped(cut(text, FACT))}") for name, text in message.facts.items()]
    return {
        "text": _slack_escaped(title_of(message)),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title_of(message), "emoji": False}},
            *[{"type": "section", "fields": fields[i : i + 10]} for i in range(0, len(fields), 10)],
            {
                "type": "context",
                "elements": [{"type": "plain_text", "text": f"next: {cut(message.command, FACT)}", "emoji": False}],
            },
        ],
    }


def _slack_text(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _slack_escaped(text: str) -> str:
    """Escape what begins a link or a mention, and keep emphasis marks from meaning anything."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.translate({ord(mark): f"{mark}\u2060" for mark in "*_~`"})


def teams(message: Message) -> dict[str, Any]:
    """The body of a Teams workflow webhook: one Adaptive Card, of text runs, which know no markup.

    Source: https://learn.microsoft.com/en-us/connectors/teams/ (When a Teams webhook request is received) and
    https://adaptivecards.io/explorer/RichTextBlock.html.
    """
    lines = [_run(title_of(message), weight="Bolder", size="Medium")]
    facts = [[_run(f"{name}  ", isSubtle=True), _run(cut(text, FACT))] for name, text in message.facts.items()]
    command = [_run("next  ", isSubtle=True), _run(cut(message.command, FACT), fontType="Monospace")]
    blocks = [{"type": "RichTextBlock", "inlines": inlines} for inlines in [lines, *facts, command]]
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": blocks,
    }  # fmt: skip
    card = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [card]}


def _run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}


def title_of(message: Message) -> str:
    """The first line: where it happened, and what."""
    where = f"{message.project} ({message.environment})" if message.environment else message.project
    return cut(f"{where}: {message.title}", TITLE)
