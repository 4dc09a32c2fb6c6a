"""Whose key is whose: the ALLOWED SIGNERS file of ssh-keygen(1).

Read as ``ssh-keygen -Y verify`` reads it, but for what would leave open who signed: names with wildcards and certificate
authorities are refused, and so is a file with a line that cannot be read. Times without ``Z`` are of the machine that verifies,
in standard time also in summer, as OpenSSH takes them.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from flowstone.foundation.clock import NANOSECONDS, as_datetime
from flowstone.foundation.errors import SettingsError, SignatureError
from flowstone.foundation.signatures.keys import PublicKey, public_key_of
from flowstone.foundation.texts import cut

MAX_FILE = 1_048_576
_KEY = re.compile(r'[^\s"=,]+[ \t]+AAAA\S*')
_PRINCIPALS = re.compile(r'(?:"([^"]*)"|([^\s"]+))[ \t]+')
_OPTION = re.compile(r'([A-Za-z-]+)(?:="((?:\\"|[^"\\]|\\(?!"))*)")?(,|[ \t]+)')
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?(Z|UTC)?", re.IGNORECASE)
_OPTIONS = ("namespaces", "valid-after", "valid-before")


class Signer(NamedTuple):
    """Who signed, the line of the file that says so, and the fingerprint of the key."""

    principal: str
    line: int
    fingerprint: str


class _Line(NamedTuple):
    """One line: whose key it is, for which namespaces, and from when to when, in seconds since the epoch."""

    number: int
    principals: tuple[str, ...]
    key: PublicKey
    namespaces: str | None
    after: int | None
    before: int | None

    def obstacle(self, namespace: str, at_ns: int) -> str | None:
        """Why the key does not count for *namespace* at that time, if so; whole seconds count, as ``ssh-keygen`` has it."""
        if self.namespaces is not None and not matches(namespace, self.namespaces):
            return f"allows the key for namespaces={self.namespaces!r}, not for {namespace!r}"
        if self.after is not None and at_ns // NANOSECONDS < self.after:
            return f"does not allow the key before {_shown(self.after)}; it signed {_shown(at_ns // NANOSECONDS)}"
        if self.before is not None and at_ns // NANOSECONDS > self.before:
            return f"does not allow the key after {_shown(self.before)}; it signed {_shown(at_ns // NANOSECONDS)}"
        return None


class Signers:
    """The keys of a file of allowed signers, which errors call *source*."""

    def __init__(self, lines: Sequence[_Line], source: str) -> None:
        self._lines, self._source = tuple(lines), source

    @classmethod
    def read(cls, path: Path) -> Signers:
        """Read the file; raises :class:`SettingsError` where it cannot be read, or for the first line that is not understood."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"cannot read the allowed signers {path}: {why}", hint="set approvals.allowed_signers") from error
        if len(data) > MAX_FILE:
            raise SettingsError(f"the allowed signers {path} are over {MAX_FILE:,} bytes", hint="is it the right file?")
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Signers:
        """Read the text of such a file; raises :class:`SettingsError` for the first line that is not understood."""
        lines: list[_Line] = []
        for number, written in enumerate(text.split("\n"), 1):
            line = written.strip(" \t\r")
            if line and not line.startswith("#"):
                try:
                    lines.append(_line(number, line))
                except (SignatureError, ValueError) as error:
                    hint = error.hint if isinstance(error, SignatureError) else 'NAME [namespaces="..."] ssh-ed25519 AAAA...'
                    message = error.message if isinstance(error, SignatureError) else str(error)
                    raise SettingsError(f"line {number} of {source}: {message}", hint=hint) from error
        return cls(lines, source)

    def lists(self, key: PublicKey, name: str) -> bool:
        """Whether a line says that the *key* is that of *name*, whatever for and from when to when."""
        return any(line.key == key and name in line.principals for line in self._lines)

    def pairs(self) -> list[tuple[str, str]]:
        """Each name with the fingerprint of a key of theirs, in order."""
        return sorted({(name, line.key.fingerprint) for line in self._lines for name in line.principals})

    def names(self, namespace: str, at_ns: int) -> set[str]:
        """Those who have a key that counts for *namespace* at that time, in nanoseconds since the epoch."""
        return {name for line in self._lines if line.obstacle(namespace, at_ns) is None for name in line.principals}

    def principal_of(self, key: PublicKey, namespace: str, at_ns: int, name: str | None = None) -> Signer:
        """Whose *key* it is, that signed for *namespace* at that time, in nanoseconds since the epoch.

        Where it is the key of several, *name* says as whom it signed. Raises :class:`SignatureError` where it is nobody's, not
        that person's, not allowed for the namespace or at the time, or of several and none is named.
        """
        listed = [line for line in self._lines if line.key == key]
        if not listed:
            raise SignatureError(
                f"nobody's key is {key.fingerprint}: {self._source} does not list it", hint=f"add a line with the name and: {key}"
            )
        own = [line for line in listed if name is None or name in line.principals]
        if not own:
            raise SignatureError(
                f"the key {key.fingerprint} is not of {name!r} but of {_names(listed)} ({self._source} line {listed[0].number})",
                hint="sign with your own key",
            )
        obstacles = [line.obstacle(namespace, at_ns) for line in own]
        usable = [line for line, obstacle in zip(own, obstacles, strict=True) if obstacle is None]
        if not usable:
            raise SignatureError(
                f"line {own[0].number} of {self._source} {obstacles[0]}", hint="change the line, or sign with another key"
            )
        principals = {name} if name is not None else {each for line in usable for each in line.principals}
        if len(principals) > 1:
            raise SignatureError(f"the key {key.fingerprint} is of {_names(usable)}", hint="say as whom you sign")
        return Signer(principals.pop(), usable[0].number, key.fingerprint)


def matches(text: str, patterns: str) -> bool:
    """Whether *text* matches patterns of ssh_config(5), separated by commas: ``*``, ``?``, and ``!`` for what must not match."""
    found = False
    for pattern in patterns.split(",") if patterns else ():
        wanted = pattern.removeprefix("!")
        parts = [
            {"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.findall(r"\*+|\?|[^*?]+", re.sub(r"\*+", "*", wanted))
        ]
        if re.fullmatch("".join(parts), text, re.DOTALL):
            if pattern != wanted:
                return False
            found = True
    return found


def _line(number: int, line: str) -> _Line:
    found = _PRINCIPALS.match(line)
    if found is None:
        raise ValueError("no name, or nothing after it")
    principals = (found[1] if found[1] is not None else found[2]).split(",")
    for name in principals:
        if not name or not name.isprintable() or set(name) & set("*?!"):
            raise SignatureError(
                f"{cut(name)!r} names nobody: a decision is of one person, not of a pattern",
                hint="write each name, with commas between",
            )
    rest = line[found.end() :]
    given: dict[str, str] = {}
    while not _KEY.match(rest):
        rest = _take_option(rest, given)
    after, before = (_seconds(name, given[name]) if name in given else None for name in ("valid-after", "valid-before"))
    if after is not None and before is not None and before <= after:
        raise ValueError("valid-before is not later than valid-after")
    return _Line(number, tuple(principals), public_key_of(rest), given.get("namespaces"), after, before)


def _take_option(text: str, given: dict[str, str]) -> str:
    """Put the option that *text* begins with into *given*, and return what follows."""
    found = _OPTION.match(text)
    if found is None:
        raise ValueError(f"{cut(text)!r} is neither an option nor a key; values of options stand in double quotes")
    name, value, comma = found[1].lower(), found[2], found[3] == ","
    if name == "cert-authority":
        raise SignatureError("cert-authority is not accepted: certificates prove no decision", hint="list each person's own key")
    if name not in _OPTIONS or value is None:
        raise ValueError(f"{cut(found[0].rstrip())!r} is no option with its value; the options are {', '.join(_OPTIONS)}")
    if name in given:
        raise ValueError(f"{name} is given twice")
    given[name] = value.replace('\\"', '"')
    rest = text[found.end() :]
    if comma == bool(_KEY.match(rest)):
        raise ValueError("options are separated by commas without spaces, and followed by the key")
    return rest


def _seconds(name: str, text: str) -> int:
    """The time that an option says, in seconds since the epoch."""
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError("no time")
        said = datetime(*(int(part or 0) for part in found.groups()[:6]))  # type: ignore[arg-type]
        fields = (*said.timetuple()[:6], 0, 0, 0)
        seconds = timegm(fields) if found[7] else int(time.mktime(fields))
        if seconds <= 0:
            raise ValueError("before 1970")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}={cut(text)!r} is no time: YYYYMMDD or YYYYMMDDHHMM[SS], with Z for UTC") from error
    return seconds


def _names(lines: Sequence[_Line]) -> str:
    return ", ".join(dict.fromkeys(repr(name) for line in lines for name in line.principals))


def _shown(seconds: int) -> str:
    return as_datetime(seconds * NANOSECONDS).strftime("%Y-%m-%dT%H:%M:%SZ")
