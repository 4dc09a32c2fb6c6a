"""Whether somebody watches: when the duties were last done, what is overdue, and whether messages get out."""

from __future__ import annotations

from collections.abc import Iterator

from flowstone.app.findings import Finding
from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key
from flowstone.automation.deadlines import Deadlines
from flowstone.foundation.clock import NANOSECONDS, as_datetime
from flowstone.foundation.durations import roughly
from flowstone.stores import notifications, overdue, ticks
from flowstone.stores.liveness import hostname_of
from flowstone.stores.records import NotificationRecord, OverdueRecord, TickRecord

PATIENCE = 15 * 60 * NANOSECONDS
LISTED = 3
CRON = "run flowstone tick from cron, every five minutes"


def findings(deployment: Deployment) -> list[Finding]:
    """What an examination says of ticks, due times and messages; nothing where nobody asked for any."""
    project, database = deployment.settings.project, deployment.reading()
    now, has_due = database.now(), Deadlines(project, database).any()
    with database.reading() as connection:
        last, late = ticks.last(connection, project), overdue.unmet(connection, project)
        counts = notifications.counts(connection, project)
        oldest = notifications.pending(connection, project, 1)
    if not (has_due or late or counts or deployment.settings.channels or last):
        return []
    return [_tick(last, now), _overdue(late), *_messages(deployment, counts, oldest, now)]


def _tick(last: TickRecord | None, now: int) -> Finding:
    if last is None or not last.at:
        return Finding("warn", "tick", "there was none yet: nothing becomes overdue, and messages wait for the next run", CRON)
    ago = roughly(now - last.at)
    failed = [each for each in last.did.get("duties", []) if not each["ok"]]
    if failed:
        text = f"{failed[0]['name']} failed: {failed[0]['text']}"
        return Finding("warn", "tick", f"{len(failed)} of its duties, {ago} ago: {text}", "flowstone tick")
    if now - last.at > PATIENCE:
        return Finding("warn", "tick", f"the last one was {ago} ago, on {hostname_of(last.host)}", CRON)
    return Finding("ok", "tick", f"{ago} ago, on {hostname_of(last.host)}")


def _overdue(late: list[OverdueRecord]) -> Finding:
    if not late:
        return Finding("ok", "due times", "nothing is overdue")
    shown = ", ".join(f"{_place(one)} (due {as_datetime(one.due_at):%Y-%m-%d %H:%M} UTC)" for one in late[:LISTED])
    more = f" and {len(late) - LISTED:,} more" if len(late) > LISTED else ""
    return Finding("warn", "due times", f"{len(late):,} overdue: {shown}{more}", f"flowstone explain {late[0].asset}")


def _messages(deployment: Deployment, counts: dict[str, int], oldest: list[NotificationRecord], now: int) -> Iterator[Finding]:
    told = ", ".join(f"{counts[status]:,} {status}" for status in ("delivered", "pending", "failed") if status in counts)
    fix = "flowstone notifications list --status"
    if counts.get("failed"):
        yield Finding("warn", "messages", f"{told}: nobody tries the failed ones again", f"{fix} failed")
    elif oldest and now - oldest[0].at > PATIENCE:
        why = oldest[0].message or "nobody has tried"
        yield Finding("warn", "messages", f"{told}; {oldest[0].id} for {oldest[0].channel} waits: {why}", f"{fix} pending")
    else:
        yield Finding("ok", "messages", told or "none yet")
    channels = deployment.settings.channels
    if channels:
        yield Finding(
            "not checked", "channels", f"whether {', '.join(channels)} take messages: flowstone notifications test CHANNEL"
        )


def _place(late: OverdueRecord) -> str:
    return f"{late.asset} {display_key(decode_key(late.partition))}" if late.partition else late.asset
