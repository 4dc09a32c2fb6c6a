"""Who may decide: the same rules for the screen that tells people in advance and for the transaction that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstone.approvals.policy import Policy
from flowstone.stores.records import ApprovalRecord, VoteRecord

STRENGTH = {"asserted": 0, "os": 1, "authenticated": 2, "signed": 3}
"""How well a person is known, from a mere word to a signature with their key."""
GROUP = "group:"


class Person(NamedTuple):
    """Who decides: an opaque id, where it comes from, and the fingerprint of the key that signed, if one did."""

    id: str
    identity: str
    key: str = ""

    @property
    def strength(self) -> int:
        """How well the person is known."""
        return STRENGTH["signed"] if self.key else STRENGTH.get(self.identity, 0)


class Refusal(NamedTuple):
    """Why somebody may not decide: a word for counting, a sentence, and what to do."""

    reason: str
    message: str
    hint: str


@dataclass(frozen=True)
class Rules:
    """What is set for the whole deployment: the people of each group, names that are no people, and whether a word is enough."""

    allow_asserted: bool = False
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    machines: Sequence[str] = ()
    hold_weakened: bool = False
    """Whether a gate that protects less than before must be approved by those who were asked before."""

    def people_of(self, approvers: Sequence[str]) -> list[str]:
        """The people that *approvers* names, each once."""
        found: dict[str, None] = {}
        for name in approvers:
            members = self.groups.get(name.removeprefix(GROUP), ()) if name.startswith(GROUP) else (name,)
            found.update(dict.fromkeys(members))
        return list(found)

    def is_machine(self, actor: str) -> bool:
        """Whether *actor* is no person: a schedule, a build server."""
        return actor in self.machines


def needed(asked: ApprovalRecord, policy: Policy) -> int:
    """How many people must say yes: two at least where four eyes are wanted and no person requested the run."""
    alone = policy.four_eyes and not policy.not_author and bool(asked.facts.get("machine"))
    return max(policy.quorum, 2) if alone else policy.quorum


def refusal(asked: ApprovalRecord, policy: Policy, person: Person, votes: Sequence[VoteRecord], rules: Rules) -> Refusal | None:
    """Why *person* may not decide about what is *asked*; ``None`` when they may."""
    if any(vote.voter == person.id for vote in votes):
        return Refusal("voted", f"{person.id} has voted already", f"flowstone approvals show {asked.id}")
    for vote in votes:
        if person.key and vote.key == person.key:
            told = f"the key {person.key} has voted already, as {vote.voter}: one key is one person"
            return Refusal("same_key", told, "sign with a key that nobody else has")
    if rules.is_machine(person.id):
        told = f"{person.id} is no person here (approvals.machines), and only people decide"
        return Refusal("machine", told, "decide as yourself, or take the name out of approvals.machines")
    return _unproven(policy, person, rules) or _involved(asked, policy, person) or _not_asked(policy, person, rules)


def is_requester(asked: ApprovalRecord, person: Person, rules: Rules) -> bool:
    """Whether *person* requested the run, and is known as well as who did."""
    as_well = person.strength >= STRENGTH.get(asked.identity, 0) or rules.allow_asserted
    return person.id == asked.requester and as_well


def _unproven(policy: Policy, person: Person, rules: Rules) -> Refusal | None:
    who = f"{person.id} ({'signed' if person.key else person.identity})"
    if person.strength == 0 and rules.allow_asserted and policy.assurance in ("asserted", "os"):
        return None
    if person.strength < STRENGTH[policy.assurance]:
        hints = {"os": "decide as the operating system's user, without --as", "signed": "--sign KEY"}
        how = hints.get(policy.assurance, "decide where you have signed in")
        return Refusal("assurance", f"{who} is not known well enough: {policy.assurance} is needed", how)
    if person.strength == 0 and (policy.approvers or policy.quorum > 1 or policy.four_eyes or policy.not_author):
        hint = "decide as the operating system's user, or set approvals.allow_asserted = true"
        return Refusal("asserted", f"{who} is only asserted: anybody could say that of themselves", hint)
    return None


def _not_asked(policy: Policy, person: Person, rules: Rules) -> Refusal | None:
    if not policy.approvers or person.id in rules.people_of(policy.approvers):
        return None
    return Refusal("not_approver", f"{person.id} is not asked", f"Ask: {policy.asked}")


def _involved(asked: ApprovalRecord, policy: Policy, person: Person) -> Refusal | None:
    ask = f"Ask: {policy.asked}" if policy.approvers else "ask somebody else"
    if policy.four_eyes and person.id == asked.requester:
        return Refusal("four_eyes", f"{person.id} requested this run, and may not approve it (four eyes)", ask)
    author = asked.facts.get("author", "")
    if policy.not_author and is_author(person.id, author):
        return Refusal("author", f"{person.id} wrote the commit that was run ({author})", ask)
    return None


def is_author(person: str, author: str) -> bool:
    """Whether the *author* of a commit, an e-mail address, is the *person*, known by the address or by what is before its @."""
    return bool(author) and person.casefold() in (author.casefold(), author.partition("@")[0].casefold())
