"""Secrets leave no trace: text is redacted once, when an event or a captured log line is built."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flowstone.foundation.texts import storable

MASK = "[redacted]"
LIMIT = 16_384  # characters kept of one text
NEAR = 4_096  # characters on each side of a cut that are searched for a secret it would halve

_NAMES = (
    r"pass(?:word|wd|phrase|code|key|(?![a-z]))|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?"
    r"|authorization|cookie"
)
_VALUE = r"[\\\[({]*(?:\"[^\"]*\"|'[^']*'|[\"']?[^\s,;&\"']+)"  # a text may end before the closing quote
_DEFAULT = re.compile(
    "|".join(
        (
            # name = value, "name": "value", Authorization: Bearer value
            rf"(?i:((?:{_NAMES})[\w-]{{0,64}}\\*[\"']?\s*[:=]\s*)(?:bearer\s+|basic\s+)?(?:{_VALUE}))",
            r"(?i:(\b(?:bearer|basic)\s+)[a-z0-9+/_.~=-]{8,})",
            r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s:/@]*:)[^\s/@]+(?=@)",  # scheme://user:password@
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
            r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}\b",
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        )
    )
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAMES})")
_HINT = re.compile(r"(?i)pass|secret|token|key|credential|authoriz|cookie|bearer|basic|://|AKIA|ASIA|gh[pousr]_|xox")


class Redactor:
    """A function from text to text without secrets.

    *patterns* are further regular expressions whose whole match is masked; *values* are exact secrets to mask (those that
    were resolved through ``secret:NAME``). Texts longer than :data:`LIMIT` characters are cut and say so.
    """

    def __init__(self, patterns: Iterable[str] = (), values: Iterable[str] = ()) -> None:
        self._own = [re.compile(p) for p in patterns]
        self._values: tuple[str, ...] = ()
        for value in values:
            self.add_value(value)

    def add_value(self, value: str) -> None:
        """Mask *value* wherever it occurs from now on; values under 4 characters would mask half the language and are left."""
        if len(value) >= 4 and value not in self._values:
            self._values = tuple(sorted((*self._values, value), key=len, reverse=True))  # one may be part of another

    def text(self, text: str, limit: int = LIMIT) -> str:
        """Return *text* without secrets, cut to *limit* characters; what not every store holds is escaped."""
        if "\0" in text or not text.isascii():
            text = storable(text)
        left_out = ""
        if len(text) > limit:
            left_out = f"... [{len(text) - limit} more characters]"
            text = text[: self._end(text, limit)]
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        for pattern in self._own:
            text = pattern.sub(MASK, text)
        if _HINT.search(text):
            text = _DEFAULT.sub(_mask, text)
        return text + left_out

    def _end(self, text: str, limit: int) -> int:
        """Where to cut: at *limit*, or before the secret it would halve, which no pattern would know again."""
        patterns = [*(re.compile(re.escape(value)) for value in self._values), *self._own, _DEFAULT]
        found = (match.span() for p in patterns for match in p.finditer(text, max(0, limit - NEAR), limit + NEAR))
        return min([limit, *(start for start, end in found if start < limit <= end)])

    def value(self, value: Any, name: str = "") -> Any:
        """Return *value* with every text in it redacted; the value under a secret-sounding *name* is masked whole."""
        if name and value is not None and _SECRET_NAME.search(name):
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


def _mask(match: re.Match[str]) -> str:
    kept = next((group for group in match.groups() if group is not None), "")
    return kept + MASK
