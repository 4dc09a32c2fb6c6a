"""Under which licence each distribution says it is, in SPDX terms where possible, and how that was concluded.

Evidence in order: the License-Expression field, the classifiers, the free-text License field, the licence file's wording.
Categories come from the licence index that ships with the license-expression library (ScanCode LicenseDB); a licence that
index calls neither permissive nor copyleft (source-available, proprietary) is "unknown": a person has to read it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, TypedDict

import license_expression  # type: ignore[import-untyped, unused-ignore]

from flowstone_demo.distributions import Installed, Snapshot
from flowstone_demo.licence_names import CLASSIFIERS, NAMES, PHRASES, VAGUE

PERMISSIVE, WEAK, STRONG, UNKNOWN = "permissive", "weak copyleft", "strong copyleft", "unknown"
# All of an AND bind, so what is known to bind counts; one of an OR may be chosen, so what is known to be freer counts.
_STRICTER = {PERMISSIVE: 0, UNKNOWN: 1, WEAK: 2, STRONG: 3}
_FREER = {PERMISSIVE: 0, WEAK: 1, STRONG: 2, UNKNOWN: 3}
_INDEX = {"Permissive": PERMISSIVE, "Public Domain": PERMISSIVE, "Copyleft Limited": WEAK, "Copyleft": STRONG}
_SHORT = 120


class Licence(TypedDict):
    """What one distribution's licence is taken to be. *spdx* is empty where the evidence names no exact licence."""

    name: str
    version: str
    category: str  # permissive, copyleft or unknown
    strength: str  # weak or strong, for copyleft
    spdx: str
    said: str
    evidence: str


class Licences(TypedDict):
    """Every distribution's licence, and how many there are of each category."""

    counts: dict[str, int]
    distributions: list[Licence]


class Reading(NamedTuple):
    """What one piece of evidence says."""

    spdx: str
    kind: str
    said: str


def classify(snapshot: Snapshot) -> Licences:
    """Return the licence of every distribution in *snapshot*."""
    found = [_licence(each) for each in snapshot["distributions"]]
    counts = Counter(each["category"] for each in found)
    return {"counts": {name: counts[name] for name in ("permissive", "copyleft", "unknown")}, "distributions": found}


def summary(licences: Licences) -> str:
    """Return how many licences there are of each category, in words."""
    return ", ".join(f"{count:,} {name}" for name, count in licences["counts"].items())


def read_expression(text: str) -> Reading | None:
    """Return what the SPDX expression *text* means, in normal form, or ``None`` if it is not one."""
    licensing = _licensing()
    try:
        parsed = licensing.parse(text, strict=True)
        unknown = licensing.unknown_license_keys(parsed)
    except (license_expression.ExpressionError, license_expression.ParseError):
        return None
    if parsed is None or any(not key.startswith("LicenseRef-") for key in unknown):
        return None
    return Reading(str(parsed), _kind(parsed), str(parsed))


def _licence(installed: Installed) -> Licence:
    reading, evidence = _conclude(installed)
    category = "copyleft" if reading.kind in (WEAK, STRONG) else reading.kind
    return {
        "name": installed["name"],
        "version": installed["version"],
        "category": category,
        "strength": reading.kind.removesuffix(" copyleft") if category == "copyleft" else "",
        "spdx": reading.spdx,
        "said": reading.said,
        "evidence": evidence,
    }


def _conclude(installed: Installed) -> tuple[Reading, str]:
    expression = installed["licence_expression"]
    if expression and (reading := read_expression(expression)):
        return reading, "from its License-Expression field"
    field = _read_field(installed["licence_field"])
    classifiers = [reading for text in installed["licence_classifiers"] if (reading := _read_classifier(text))]
    if classifiers:
        return _agree(classifiers, field)
    if field:
        return field, "from its License field"
    if reading := _read_text(installed["licence_field"]):
        return reading, "from the text in its License field"
    if reading := _read_text(installed["licence_text"]):
        return reading, "from the wording of its licence file"
    return Reading("", UNKNOWN, ""), _why_unknown(installed)


def _agree(classifiers: list[Reading], field: Reading | None) -> tuple[Reading, str]:
    """Several classifiers do not say whether all or one of them binds: the strictest counts."""
    strictest = max(classifiers, key=lambda reading: _STRICTER[reading.kind])
    said = " / ".join(reading.said for reading in classifiers)
    several = len(classifiers) > 1
    evidence = "from its classifiers, the strictest of them" if several else "from its classifier"
    if field and field.kind == strictest.kind and field.spdx:
        return field, f"from its License field and classifier{'s' if several else ''}"
    if field and _STRICTER[field.kind] > _STRICTER[strictest.kind]:
        return field, f"from its License field, which is stricter than its classifier ({said})"
    return Reading("" if several else strictest.spdx, strictest.kind, said), evidence


def _read_classifier(text: str) -> Reading | None:
    name = text.removeprefix("OSI Approved ::").strip()
    if name in CLASSIFIERS:
        spdx = CLASSIFIERS[name]
        return Reading(spdx, _kind_of_key(spdx), spdx)
    if name in VAGUE:
        return Reading("", VAGUE[name], name)
    return None if name in ("", "OSI Approved") else Reading("", UNKNOWN, name)


def _read_field(text: str) -> Reading | None:
    line = text.strip()
    if not line or len(line) > _SHORT or "\n" in line:
        return None
    plain = " ".join(word for word in re.findall(r"[a-z0-9+]+", line.lower()) if word not in _FILLERS)
    if plain in NAMES:
        spdx = NAMES[plain]
        return Reading("", VAGUE[spdx], line) if spdx in VAGUE else Reading(spdx, _kind_of_key(spdx), spdx)
    return read_expression(line)


def _read_text(text: str) -> Reading | None:
    plain = " ".join(text.lower().split())
    for phrase, spdx, kind in PHRASES:
        if phrase in plain:
            return Reading(spdx, kind, spdx or phrase)
    return None


def _why_unknown(installed: Installed) -> str:
    field = " ".join(installed["licence_field"].split())
    said = f'free text "{field[:60]}{"..." if len(field) > 60 else ""}"' if field else "no free text"
    expression = installed["licence_expression"]
    return f"{f'expression {expression!r} is not SPDX' if expression else 'no expression'}, no classifier, {said}"


_FILLERS = frozenset({"the", "license", "licence", "licensed", "software", "version", "under", "a", "an", "style"})


@cache
def _licensing() -> Any:
    return license_expression.get_spdx_licensing()


@cache
def _index() -> dict[str, str]:
    kinds: dict[str, str] = {}
    for entry in license_expression.get_license_index():
        keys: Iterable[str] = [entry.get("spdx_license_key") or "", *(entry.get("other_spdx_license_keys") or [])]
        kinds.update((key, _INDEX.get(entry["category"], UNKNOWN)) for key in keys if key)
    return kinds


def _kind_of_key(key: str) -> str:
    return _index().get(key, UNKNOWN)


def _kind(node: Any) -> str:
    if isinstance(node, license_expression.LicenseWithExceptionSymbol):
        kind = _kind_of_key(node.license_symbol.key)
        # An exception grants something back, so it never makes a licence stricter.
        return WEAK if kind == STRONG else kind
    if isinstance(node, license_expression.LicenseSymbol):
        return _kind_of_key(node.key)
    kinds = [_kind(part) for part in node.args]
    order, choose = (_FREER, min) if node.operator.strip() == "OR" else (_STRICTER, max)
    return choose(kinds, key=lambda kind: order[kind])
