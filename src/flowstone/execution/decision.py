"""Reuse or compute: the one rule of what *outdated* means.

An output is up to date when the definition digest, the declared config's digest, the digests of the inputs and the source
version equal those it was made with, and its bytes exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from flowstone.assets.asset import AnyAsset
from flowstone.assets.definition import definition_digest
from flowstone.assets.keys import PartitionKey, decode_key, display_key
from flowstone.execution.context import VersionContext
from flowstone.foundation.errors import UsageError
from flowstone.foundation.serialize import digest_of
from flowstone.stores.records import OutputRecord

NO_CONFIG = ""
NEW = "has no value yet"
FORCED = "forced"
INPUTS = "inputs changed"
SHOWN = 8  # digits of a digest that people are shown
WORDS = 40  # characters of a source version that is no digest
_DIGEST = re.compile(r"[0-9a-f]+")


class Facts(NamedTuple):
    """What an output depends on, as digests."""

    definition: str
    config: str
    inputs: str
    source_version: str


class Made(NamedTuple):
    """One input that was or would be loaded."""

    parameter: str
    asset: str
    partition: str
    output: str
    digest: str


def inputs_digest(inputs: Iterable[Made]) -> str:
    """The digest of what went in: parameter, asset, partition and value digest of each input, sorted; empty for none."""
    made = sorted((item.parameter, item.asset, item.partition, item.digest) for item in inputs)
    return digest_of(made) if made else ""


def declared_config(asset: AnyAsset, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config values the asset declares: the deployment's, else the declared default; secrets as references."""
    return {name: config.get(name, default) for name, default in asset.config.items()}


def resolved_config(asset: AnyAsset, config: Mapping[str, Any], resolve_secret: Callable[[str], str]) -> dict[str, Any]:
    """The config values the asset declares, secrets resolved now; raises ``SettingsError`` for one that is not there."""
    declared = declared_config(asset, config)
    return {k: resolve_secret(v[7:]) if isinstance(v, str) and v.startswith("secret:") else v for k, v in declared.items()}


def config_digest(asset: AnyAsset, config: Mapping[str, Any]) -> str:
    """The digest of the declared config; a secret enters as its reference, never as its value."""
    return digest_of(declared_config(asset, config)) if asset.config else NO_CONFIG


def source_version(asset: AnyAsset, key: PartitionKey, config: Mapping[str, Any]) -> str:
    """Ask the source's version function for the fingerprint of the outside; raises what it raises.

    Raises :class:`UsageError` when it returns anything but a short text.
    """
    if asset.version is None:
        return ""
    given = {"ctx": VersionContext(asset.name, key), "config": config}
    version: object = asset.version(**{name: given[name] for name in asset.version_parameters})
    if not isinstance(version, str) or not 0 < len(version) <= 200:
        raise UsageError(
            f"the version function of source {asset.name!r} returned {version!r}", hint="return a text of 1 to 200 characters"
        )
    return version


def facts_of(asset: AnyAsset, config: Mapping[str, Any], inputs: Iterable[Made], version: str) -> Facts:
    """What an output made now would depend on."""
    return Facts(definition_digest(asset), config_digest(asset, config), inputs_digest(inputs), version)


def why_outdated(asset: AnyAsset, facts: Facts, current: OutputRecord | None) -> str | None:
    """Say why *current* cannot be reused, or return ``None`` when it is up to date (its bytes are the caller's to check)."""
    if current is None:
        return NEW
    changes = differences(facts, current)
    if changes:
        return "; ".join(changes)
    if asset.source and asset.version is None:
        return "a source without a version is computed each time"
    return None


def differences(facts: Facts, current: OutputRecord) -> list[str]:
    """What differs between now and when *current* was made, in words."""
    found = []
    if facts.source_version != current.source_version:
        found.append(f"source fingerprint {short(current.source_version) or 'none'} -> {short(facts.source_version) or 'none'}")
    if facts.definition != current.definition:
        found.append(f"definition {short(current.definition)} -> {short(facts.definition)}")
    if facts.config != current.config:
        found.append("config changed")
    if facts.inputs != current.inputs:
        found.append(INPUTS)
    return found


def changed_inputs(before: Iterable[Made], now: Iterable[Made]) -> list[str]:
    """What differs between the inputs of then and now, in words, a parameter after the other."""
    then, found = _by_parameter(before), _by_parameter(now)
    changes = []
    for parameter, made in found.items():
        old = then.get(parameter, {})
        if len(made) == len(old) == 1:  # another partition of the same parameter is a change, too
            (one,), (other,) = made.values(), old.values()
            changes += (
                [f"{one.asset} changed ({short(other.digest)} -> {short(one.digest)})"] if one.digest != other.digest else []
            )
            continue
        for partition, one in made.items():
            label = f"{one.asset} {display_key(decode_key(partition))}" if len(made) > 1 else one.asset
            if partition not in old:
                changes.append(f"{label} is new")
            elif old[partition].digest != one.digest:
                changes.append(f"{label} changed ({short(old[partition].digest)} -> {short(one.digest)})")
        changes += [f"{one.asset} {display_key(decode_key(p))} is not used any more" for p, one in old.items() if p not in made]
    return changes + [f"{parameter} is not there any more" for parameter in then if parameter not in found]


def _by_parameter(inputs: Iterable[Made]) -> dict[str, dict[str, Made]]:
    found: dict[str, dict[str, Made]] = {}
    for made in inputs:
        found.setdefault(made.parameter, {})[made.partition] = made
    return found


def short(digest: str) -> str:
    """The first digits of a digest, marked as cut; a version in words keeps more of them."""
    kept = SHOWN if _DIGEST.fullmatch(digest) else WORDS
    return f"{digest[:kept]}.." if len(digest) > kept + 4 else digest
