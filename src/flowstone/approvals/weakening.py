"""Whether a gate protects less than it did: two policies as they are stored, compared in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flowstone.approvals.eligibility import STRENGTH

NOBODY_IS_ASKED = "no gate"
Policy = Mapping[str, Any]
Expand = Callable[[Sequence[str]], list[str]]
_ALWAYS = ("after", "before")


class Less(NamedTuple):
    """One respect in which a gate protects less: what it was, and what it is."""

    was: str
    now: str


def weaker(old: Policy | None, new: Policy | None, people_of: Expand = list) -> list[Less]:
    """In which respects *new* protects less than *old*; *people_of* names the people of approvers, of which some are groups.

    More time alone is not less. Of two predicates nobody knows which one asks more: another one counts as less.
    """
    if old is None:
        return []
    if new is None:
        return [Less(_said(old), NOBODY_IS_ASKED)]
    found = [*_people(old, new, people_of), *_proof(old, new), *_time(old, new, people_of)]
    if old["when"] != new["when"] and new["when"] != "after":
        found.append(Less(f"asked {old['when']}", f"asked {new['when']}"))
    gone = sorted(set(old["invalidate_on"]) - set(new["invalidate_on"]))
    if gone:
        found.append(Less(f"void on another {', '.join(gone)}", f"keeps standing on another {', '.join(gone)}"))
    return found


def _people(old: Policy, new: Policy, people_of: Expand) -> list[Less]:
    found = []
    wider = _wider(old["approvers"], new["approvers"], people_of)
    if wider:
        found.append(Less(f"approvers {_names(old['approvers'])}", f"approvers {wider}"))
    if new["quorum"] < old["quorum"]:
        found.append(Less(f"quorum {old['quorum']}", f"quorum {new['quorum']}"))
    rules = [rule for rule in ("four_eyes", "not_author") if old[rule] and not new[rule]]
    return [*found, *(Less(rule, f"no {rule}") for rule in rules)]


def _proof(old: Policy, new: Policy) -> list[Less]:
    if STRENGTH[new["assurance"]] < STRENGTH[old["assurance"]]:
        return [Less(f"assurance {old['assurance']}", f"assurance {new['assurance']}")]
    return []


def _time(old: Policy, new: Policy, people_of: Expand) -> list[Less]:
    found = []
    if new["on_timeout"] == "approve" and old["on_timeout"] != "approve":
        found.append(Less(f"on timeout {old['on_timeout']}", "on timeout approve"))
    elif new["on_timeout"] == "approve" and new["timeout_ns"] < old["timeout_ns"]:
        found.append(Less("on timeout approve", "on timeout approve, and sooner"))
    if new["on_timeout"] == "escalate":
        wider = _wider([*old["approvers"], *old["escalate_to"]] if old["approvers"] else [], new["escalate_to"], people_of)
        if wider:
            found.append(Less(f"escalates to {_names(old['escalate_to'])}", f"escalates to {wider}"))
    return found


def _wider(old: Sequence[str], new: Sequence[str], people_of: Expand) -> str:
    """Who may decide that could not before, in words; no names at all are everybody."""
    if not old:
        return ""
    if not new:
        return "anybody"
    known = {*old, *people_of(old)}
    added = [name for name in new if name not in known and not {*(people_of([name]) or [name])} <= known]
    return _names(new) if added else ""


def _names(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nobody"


def _said(policy: Policy) -> str:
    people = _names(policy["approvers"]) if policy["approvers"] else "anybody"
    when = "" if policy["when"] in _ALWAYS else f", where it is {policy['when']}"
    return f"asks {people}, quorum {policy['quorum']}{when}"
