"""What an examination says of approvals: what waits, and whether those who are asked could decide at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flowstone.app.findings import Finding
from flowstone.app.wiring import Deployment
from flowstone.approvals.eligibility import GROUP, Rules
from flowstone.approvals.policy import Policy, policy_of
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.durations import roughly
from flowstone.foundation.errors import SettingsError
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.foundation.signatures.statement import NAMESPACE
from flowstone.stores import approvals, pipelines, state
from flowstone.stores.state import PendingOf

SUBJECT = "approvals"
GRACE = 3_600 * NANOSECONDS
"""How long after its deadline a request may be pending: as long as nobody has looked."""
LISTED, MOST = 3, 1_000
_TICK = "flowstone tick"


class _Gate(NamedTuple):
    """A gate as it is declared, or as it was when people were asked; *name* is the asset's."""

    name: str
    policy: Policy


def findings(deployment: Deployment) -> list[Finding]:
    """What an examination says of requests, and of the gates of the newest definitions."""
    project, database = deployment.settings.project, deployment.reading()
    now = database.now()
    with database.reading() as connection:
        waiting = state.pending(connection, project)
        asked = approvals.listed(connection, project, limit=MOST)
        declared = [item for record in pipelines.newest(connection, project) for item in record.definition["assets"]]
    gates = [_Gate(item["name"], policy_of(item["approval"])) for item in declared if item.get("approval")]
    gates += [_Gate(one.asset, policy_of(one.policy)) for one in asked]
    late = sorted(((now - one.deadline, one.id) for one in asked if one.deadline and one.deadline < now), reverse=True)
    return [_waiting(waiting, late, now, gated=bool(gates)), *_deciders(deployment, gates, now)]


def _waiting(waiting: list[PendingOf], late: list[tuple[int, str]], now: int, *, gated: bool) -> Finding:
    if not waiting:
        return Finding("ok", SUBJECT, "nothing waits" if gated else "no asset has a gate")
    number = sum(of.requests for of in waiting)
    text = f"{number:,} waiting, the oldest for {roughly(now - min(of.oldest for of in waiting))}"
    if not late:
        return Finding("ok", SUBJECT, text)
    past, id = late[0]
    text += f"; {len(late):,} past the deadline, {id} for {roughly(past)}"
    return Finding("fail" if past > GRACE else "warn", SUBJECT, text, _TICK)


def _deciders(deployment: Deployment, gates: list[_Gate], now: int) -> Iterator[Finding]:
    """What keeps people from deciding, and what lets anybody decide."""
    rules = deployment.people()
    for told in (_groups(gates, rules), _too_few(gates, rules), _keys(deployment, gates, rules, now), _asserted(gates, rules)):
        if told is not None:
            yield told


def _groups(gates: list[_Gate], rules: Rules) -> Finding | None:
    asked = {name.removeprefix(GROUP): gate.name for gate in gates for name in _named(gate.policy) if name.startswith(GROUP)}
    empty = {group: asset for group, asset in asked.items() if not rules.groups.get(group)}
    if not empty:
        return None
    group = next(iter(empty))
    text = f"{_some(empty)} {'has' if len(empty) == 1 else 'have'} no people: group:{group} is asked about {empty[group]}"
    return Finding("warn", SUBJECT, text, f'{group} = ["NAME"] under [approvals.groups] of the settings')


def _too_few(gates: list[_Gate], rules: Rules) -> Finding | None:
    for name, policy in gates:
        people = [person for person in rules.people_of(policy.approvers) if not rules.is_machine(person)]
        if policy.approvers and 0 < len(people) < policy.quorum:
            text = f"{len(people)} people are asked about {name}, and {policy.quorum} must approve"
            return Finding("warn", SUBJECT, text, "name more people in [approvals.groups], or lower quorum=")
    return None


def _keys(deployment: Deployment, gates: list[_Gate], rules: Rules, now: int) -> Finding | None:
    """Whether everybody who must sign has a key."""
    signing = {gate.name: rules.people_of(_named(gate.policy)) for gate in gates if gate.policy.assurance == "signed"}
    if not signing:
        return None
    path = deployment.settings.approvals.allowed_signers
    if path is None:
        text = f"decisions about {_some(signing)} must be signed, and no file says whose key is whose"
        return Finding("warn", SUBJECT, text, "approvals.allowed_signers = FILE")
    try:
        known = Signers.read(path).names(NAMESPACE, now)
    except SettingsError as error:
        return Finding("warn", SUBJECT, error.message, error.hint or "")
    without = {person: asset for asset, people in signing.items() for person in people if person not in known}
    if not without:
        return None
    text = f"{_some(without)} cannot decide about {next(iter(without.values()))}: {path} has no key of theirs that counts now"
    return Finding("warn", SUBJECT, text, f"add NAME ssh-ed25519 AAAA... to {path}")


def _asserted(gates: list[_Gate], rules: Rules) -> Finding | None:
    """Whether a word is enough to decide, and nothing proves whose."""
    lax = {
        gate.name: ""
        for gate in gates
        if gate.policy.assurance == "asserted" or (rules.allow_asserted and gate.policy.assurance == "os")
    }
    if not lax:
        return None
    fix = "approvals.allow_asserted = false" if rules.allow_asserted else 'Approval(assurance="os")'
    return Finding("warn", SUBJECT, f"anybody can decide about {_some(lax)} in anybody's name (--as)", fix)


def _named(policy: Policy) -> tuple[str, ...]:
    return (*policy.approvers, *policy.escalate_to)


def _some(names: Mapping[str, object]) -> str:
    shown = ", ".join([*names][:LISTED])
    return f"{shown} and {len(names) - LISTED:,} more" if len(names) > LISTED else shown
