"""The duties of a tick, in their order; and one message sent to try a channel."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from flowstone.app.messages import channels_of
from flowstone.app.metrics import Fold
from flowstone.app.pruning import Prune
from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key
from flowstone.automation.deadlines import Deadlines, Late
from flowstone.automation.tick import Duty, Tick, Ticked
from flowstone.execution import closing, expiring
from flowstone.execution.run import Actor, Runs
from flowstone.execution.services import Services
from flowstone.foundation.clock import DAY
from flowstone.foundation.errors import FlowStoneError, NotFoundError, did_you_mean
from flowstone.notifications.channels import Undelivered
from flowstone.notifications.delivery import SEND_SECONDS, describe
from flowstone.notifications.message import Message
from flowstone.stores import runs

DELIVER_SECONDS = 60.0
NAMED = 5


def tick(deployment: Deployment, actor: Actor) -> Ticked:
    """Do the deployment's duties, unless another tick does; where there is no database yet there is nothing to do."""
    if deployment.is_new():
        return Ticked("new")
    services = deployment.services()
    return Tick(services.project, services.database, deployment.locks, services.process).run(duties(deployment, services, actor))


def duties(deployment: Deployment, services: Services, actor: Actor) -> list[Duty]:
    """The duties, in order: each may be done at any time, again and again, by anybody."""
    return [
        Duty("dead work", lambda: _reap(deployment)),
        Duty("approvals", lambda: _settle_approvals(services)),
        Duty("due times", lambda: _mark(services)),
        Duty("messages", lambda: _deliver(deployment, services)),
        Duty("metrics", lambda: _fold(deployment, services)),
        Duty("audit", lambda: _seal(deployment)),
        Duty("prune", lambda: _prune(deployment, actor), every=DAY),
        Duty("runs", lambda: _go_on(deployment, services, actor)),
    ]


def _reap(deployment: Deployment) -> str:
    deployment.services()  # settles what dead processes left behind
    if not deployment.freed:
        return "nothing was left by dead processes"
    return f"{_named(deployment.freed)} of dead processes: flowstone run --resume {deployment.freed[0]}"


def _settle_approvals(services: Services) -> str:
    done = expiring.settle_due(services)
    counts = Counter("reminded of" if one.status == "pending" else one.status for one in done)
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "nothing is due"


def _go_on(deployment: Deployment, services: Services, actor: Actor) -> str:
    """Go on with the runs that people have decided about, where their code is at hand; end those nothing is left to do for."""
    with services.database.reading() as connection:
        decided = runs.to_go_on(connection, services.project)
    waiting = [run for run in decided if closing.close(services, run.id) == "waiting"]
    if not waiting:
        return "none waits for anything but people"
    pipeline = deployment.pipeline
    if pipeline is None:
        return f"{_named([run.id for run in waiting])} may go on: flowstone run --resume {waiting[0].id}"
    work = Runs(services, pipeline, actor, {})
    done = []
    for run in waiting:
        if run.definition != pipeline.digest():
            done.append(f"{run.id} was requested with another definition")
            continue
        try:
            done.append(f"{run.id} {work.resume(run).status}")
        except FlowStoneError as error:  # somebody else was faster, or it cannot go on: others can
            done.append(f"{run.id}: {error.message}")
    return _named(done)


def _mark(services: Services) -> str:
    late, met, still = Deadlines(services.project, services.database).mark()
    parts = [f"{_named([_place(one) for one in late])} overdue since now"] if late else []
    parts += [f"{met:,} arrived late"] if met else []
    parts += [f"{still:,} overdue in all"] if still else []
    return "; ".join(parts) or "nothing is overdue"


def _deliver(deployment: Deployment, services: Services) -> str:
    until = time.monotonic() + DELIVER_SECONDS
    done = deployment.delivery(services).deliver(lambda: until)
    parts = [f"{done.delivered:,} delivered"] if done.delivered else []
    parts += (
        [f"{done.failed:,} failed" + (f", {done.given_up:,} of them for good" if done.given_up else "")] if done.failed else []
    )
    parts += [f"{done.elsewhere:,} for channels that are not configured here"] if done.elsewhere else []
    return "; ".join(parts) or "none to deliver"


def _fold(deployment: Deployment, services: Services) -> str:
    done = Fold(services.database, services.project, deployment.settings.metrics.max_series).run(must_store=True)
    return f"{done.events:,} events folded"


def _seal(deployment: Deployment) -> str:
    sealed, anchored = deployment.sealing.seal_now() if deployment.sealing is not None else ([], [])
    added = sum(one.added for one in sealed)
    parts = [f"{added:,} entries sealed"] if added else []
    parts += [f"anchor {one.sink}: {one.error}" for one in anchored if one.error]
    return "; ".join(parts) or "nothing to seal"


def _prune(deployment: Deployment, actor: Actor) -> str:
    parts = [f"{part.removed:,} {part.kind}" for part in Prune(deployment, actor, dry_run=False).run() if part.removed]
    return f"{', '.join(parts)} gone" if parts else "nothing to remove"


def try_channel(deployment: Deployment, name: str) -> str:
    """Send a message that says it is a trial through the channel; return what went wrong, nothing when it was taken."""
    settings = deployment.settings
    channels = channels_of(settings, deployment.runtime.resolve_secret, deployment.clock)
    if name not in channels:
        hint = (
            did_you_mean(name, channels)
            or f"configured: {', '.join(channels) or 'none; see flowstone.toml [notifications.NAME]'}"
        )
        raise NotFoundError(f"there is no channel {name!r}", hint=hint)
    message = Message(
        cause="trial", project=settings.project, environment=settings.environment or "", title="this is a trial message",
        facts={"channel": name}, command="flowstone notifications list", at=deployment.clock.now_ns(),
    )  # fmt: skip
    return _refusal(lambda: channels[name].send(deployment.ids.new("ntf"), message, SEND_SECONDS), deployment)


def _refusal(send: Callable[[], None], deployment: Deployment) -> str:
    try:
        send()
    except Undelivered as error:
        return deployment.redactor.text(error.text)
    except Exception as error:  # noqa: BLE001 - what a channel raises is what is asked for
        return deployment.redactor.text(describe(error)[1])
    return ""


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _place(late: Late) -> str:
    return f"{late.watched.asset} {display_key(decode_key(late.partition))}" if late.partition else late.watched.asset
