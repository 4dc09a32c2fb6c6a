"""The text that a person signs to decide: readable, the same bytes for the same decision, and others for any other."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import msgspec

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.texts import cut

NAMESPACE = "flowstone-decision"
HEADING = "flowstone decision v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND
# Control characters, those that turn the direction of what follows, and those that are not seen. Listed and not asked of
# `unicodedata`, which knows more with each version of Python: what was signed must come out the same ever after.
_HIDDEN = re.compile(
    "[\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it is signed: who decides what about which candidate, and when, in microseconds since the epoch, UTC."""

    approval: str
    project: str
    asset: str
    partition: str
    verdict: str
    digest: str
    comment: str
    actor: str
    at: int

    def text(self) -> bytes:
        """The bytes that are signed: a heading, then one line for each field, its value as JSON, what cannot be seen escaped.

        Raises :class:`SignatureError` for half a surrogate pair, which has no bytes, and for a time before 1970 or after 9999.
        """
        if not 0 <= self.at <= _LAST:
            raise SignatureError(f"at={self.at} is no time between 1970 and 9999", hint="it is in microseconds since the epoch")
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        values["at"] = (_EPOCH + self.at * _MICROSECOND).strftime(_TIME)
        lines = [HEADING, *(f"{name}: {_shown(value)}" for name, value in values.items()), ""]
        try:
            return "\n".join(lines).encode()
        except UnicodeEncodeError as error:
            raise SignatureError(
                f"half a surrogate pair cannot be signed: {error.object[error.start]!a}", hint="leave it out"
            ) from error


def read(text: bytes) -> Statement:
    """The statement whose text this is; raises :class:`SignatureError` for bytes that :meth:`Statement.text` does not make."""
    names = Statement.__struct_fields__
    try:
        heading, *lines, end = text.decode().split("\n")
        values = dict(zip(names, map(_value, names, lines), strict=True))
        at = (datetime.strptime(values.pop("at"), _TIME).replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
        statement = Statement(**values, at=at)
        if (heading, end) == (HEADING, "") and statement.text() == text:
            return statement
    except (ValueError, msgspec.MsgspecError):
        pass
    raise SignatureError(
        f"{cut(repr(text))} is no statement of a decision", hint=f"it begins with {HEADING!r} and is read as it was signed"
    )


def _shown(value: str) -> str:
    return _HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(value, ensure_ascii=False))


def _value(name: str, line: str) -> str:
    return msgspec.json.decode(line.removeprefix(f"{name}: "), type=str)
