"""The policy of a gate: who must agree before a value becomes current, until when, and how they prove who they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

from flowstone.assets.loaded import LoadedCode, closure_of, fingerprint, functions_in
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.durations import parse_duration, show_duration
from flowstone.foundation.errors import ValidationError
from flowstone.foundation.serialize import digest_of

OnTimeout = Literal["fail", "remind", "escalate", "approve"]
Assurance = Literal["asserted", "os", "authenticated", "signed"]
Change = Literal["code", "config", "inputs"]
When: TypeAlias = Literal["after", "before", "asked"] | Callable[[Any], bool]

GROUP = "group:"
"""What the name of a group of approvers begins with; its people are named in the settings, ``approvals.groups``."""
WEEK = timedelta(days=7)
LONGEST = timedelta(days=3650)
MAX_MESSAGE = 1_000


@dataclass(frozen=True)
class Approval:
    """A gate: people decide about what an asset makes, once, on what they saw.

    *message* is what they are asked. *approvers* are names and ``group:NAME``; without any, everybody. *quorum* is how many
    people must say yes; one no decides. *four_eyes*: not whoever requested the run; *not_author*: nor the author of the commit
    it ran. After *timeout* (a timedelta, or text such as ``"7d"``) the value is refused (*on_timeout* ``fail``), people are
    reminded again and again (``remind``), *escalate_to* are asked for as long again (``escalate``), or it is taken unseen
    (``approve``). *when*: ``after`` it is computed and stored, ``before`` it is computed, only where the function ``asked`` for
    it with ``ctx.ask_approval``, or when a function of the computed value returns True. *assurance* is how well a person must be
    known at least: ``asserted``, by the operating system (``os``), ``authenticated``, or by a ``signed`` decision.
    *invalidate_on*: a change of ``code``, ``config`` or ``inputs`` meanwhile makes the request void instead of being shown.

    Raises :class:`ValidationError` for a policy that nobody could keep.
    """

    message: str = ""
    approvers: Sequence[str] = ()
    quorum: int = 1
    four_eyes: bool = True
    timeout: timedelta | str = WEEK
    on_timeout: OnTimeout = "fail"
    escalate_to: Sequence[str] = ()
    when: When = "after"
    assurance: Assurance = "os"
    invalidate_on: Sequence[Change] = ()
    not_author: bool = False

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValidationError(f"Approval: {problem}")
        for name in ("approvers", "escalate_to", "invalidate_on"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        object.__setattr__(self, "timeout", _length(self.timeout))

    @property
    def timeout_ns(self) -> int:
        """How long people have, in nanoseconds."""
        assert isinstance(self.timeout, timedelta)
        return round(self.timeout.total_seconds() * NANOSECONDS)

    def asks(self, value: Any) -> bool:
        """Whether people are asked about the computed *value*."""
        if callable(self.when):
            found = self.when(value)
            is_numpy = str(getattr(found, "dtype", "")) == "bool" and getattr(found, "ndim", None) == 0
            if not (isinstance(found, bool) or is_numpy):
                raise ValidationError(f"Approval: when= returned {found!r} for the value", hint="return True or False")
            return bool(found)
        return self.when == "after"

    def describe(self) -> dict[str, Any]:
        """Return the policy as plain values: what definitions and requests keep, and what is compared to see it weakened."""
        return {
            "message": self.message,
            "approvers": sorted(self.approvers),
            "quorum": self.quorum,
            "four_eyes": self.four_eyes,
            "not_author": self.not_author,
            "timeout_ns": self.timeout_ns,
            "on_timeout": self.on_timeout,
            "escalate_to": sorted(self.escalate_to),
            "when": self.when if isinstance(self.when, str) else f"when {_code(self.when)}",
            "assurance": self.assurance,
            "invalidate_on": sorted(self.invalidate_on),
        }

    def _problems(self) -> list[str]:
        found = []
        if not isinstance(self.message, str) or len(self.message) > MAX_MESSAGE:
            found.append(f"message is not a text of at most {MAX_MESSAGE} characters")
        flags = {option: getattr(self, option) for option in ("four_eyes", "not_author")}
        found += [f"{option}={flag!r} is not True or False" for option, flag in flags.items() if not isinstance(flag, bool)]
        return [*found, *self._of_people(), *self._of_choices()]

    def _of_people(self) -> list[str]:
        for option in ("approvers", "escalate_to"):
            names = getattr(self, option)
            if isinstance(names, str) or not all(isinstance(name, str) and _is_name(name) for name in names):
                return [f'{option}={names!r} is no list of names, for example ["ann", "group:reviewers"]']
        if type(self.quorum) is not int or self.quorum < 1:
            return [f"quorum={self.quorum!r} is no number of people of at least 1"]
        people = set(self.approvers)
        if people and len(people) < self.quorum and not any(name.startswith(GROUP) for name in people):
            return [f"quorum={self.quorum} can never be reached by {len(people)} approvers; name more of them"]
        return []

    def _of_choices(self) -> list[str]:
        found = [
            f"{option}={getattr(self, option)!r} is none of {', '.join(get_args(known))}"
            for option, known in (("on_timeout", OnTimeout), ("assurance", Assurance))
            if getattr(self, option) not in get_args(known)
        ]
        unknown = (one for one in self.invalidate_on if one not in get_args(Change))
        found.extend(f"invalidate_on: {one!r} is none of {', '.join(get_args(Change))}" for one in unknown)
        if (self.on_timeout == "escalate") != bool(self.escalate_to):
            found.append('on_timeout="escalate" and escalate_to=[...] belong together; give both or none')
        if not callable(self.when) and self.when not in ("after", "before", "asked"):
            found.append(f'when={self.when!r} is none of "after", "before", "asked", nor a function of the value')
        return found


def _is_name(name: str) -> bool:
    return 0 < len(name.removeprefix(GROUP)) <= 200 and name.isprintable() and name.strip() == name


def _length(given: timedelta | str) -> timedelta:
    length = given
    if isinstance(given, str):
        try:
            length = timedelta(microseconds=parse_duration(given) / 1_000)
        except ValueError as error:
            raise ValidationError(f"Approval: timeout: {error}") from error
    if not isinstance(length, timedelta) or not timedelta(seconds=1) <= length <= LONGEST:
        hint = f'a timedelta or a text such as "7d", of a second to {show_duration(round(LONGEST.total_seconds()) * NANOSECONDS)}'
        raise ValidationError(f"Approval: timeout={given!r} is no length of time", hint=hint)
    return length


def _code(predicate: Callable[[Any], bool]) -> str:
    """What stands for a predicate in a definition: another function, or other values it closes over, is another policy."""
    functions = functions_in(predicate)
    shapes = [[LoadedCode(f).shape, sorted((k, fingerprint(v)) for k, v in closure_of(f).items())] for f in functions]
    name = getattr(predicate, "__qualname__", type(predicate).__qualname__)
    return f"{name} {digest_of(shapes)[:16]}"
