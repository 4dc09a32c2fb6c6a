"""Every rule a set of assets must keep; the answer is the list of all that is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flowstone.assets.asset import AnyAsset, Asset
from flowstone.assets.graph import find_cycles, path_text
from flowstone.assets.mappings import PartitionMapping
from flowstone.assets.partitions import Partitions
from flowstone.assets.signature import RESERVED, Parameter, parameter_names
from flowstone.foundation.errors import did_you_mean

SUGGESTIONS = 10  # looking for similar names costs more than all other checks together


def find_problems(items: Sequence[object]) -> list[str]:
    """Return what is wrong with *items* as a pipeline's assets, each as ``file:line: asset 'x': ...``."""
    known: dict[str, AnyAsset] = {}
    problems: list[str] = []
    for number, item in enumerate(items, 1):
        if not isinstance(item, Asset):
            problems.append(f"item {number} is {_what(item)}; decorate it with @asset")
        elif item.name not in known:
            known[item.name] = item
        elif known[item.name] is item:
            problems.append(_at(item, "is listed twice; list it once"))
        else:
            first = known[item.name]
            problems.append(_at(item, f"the name is taken by the asset at {first.file}:{first.line}; rename one of them"))
    unknown = _Unknown(known)
    for asset in known.values():
        if asset.parameters or asset.after or asset.problems or asset.deps or asset.mapping or asset.version or asset.config:
            problems.extend(_at(asset, text) for text in _problems_of(asset, known, unknown))
        if asset.name in RESERVED:
            problems.append(_at(asset, f"{asset.name!r} is reserved for the parameter of that name; choose another name"))
    return problems + _cycles(known)


class _Unknown:
    """Says that a name is no asset's, with a suggestion for the first few."""

    def __init__(self, known: Mapping[str, AnyAsset]) -> None:
        self._known = known
        self._left = SUGGESTIONS

    def text(self, what: str, name: str) -> str:
        hint = None
        if self._left:
            self._left -= 1
            hint = did_you_mean(name, self._known)
        return f"{what} names {name!r}, which is no asset of the pipeline; {hint or 'add it to the pipeline or use deps='}"


def _problems_of(asset: AnyAsset, known: Mapping[str, AnyAsset], unknown: _Unknown) -> Iterator[str]:
    yield from asset.problems
    for parameter in asset.parameters:
        if parameter.upstream is None:
            continue
        upstream = known.get(parameter.upstream)
        if upstream is None:
            yield unknown.text(f"parameter {parameter.name!r}", parameter.upstream)
        elif asset.partitions is not upstream.partitions or asset.mapping:
            problem = _partition_problem(asset, parameter, upstream)
            if problem:
                yield problem
    yield from (unknown.text("after", name) for name in asset.after if name not in known)
    if asset.partitions is None:
        yield from (
            f"comes after {name!r}, which has partitions, and has none itself; give it partitions or leave out after="
            for name in asset.after
            if name in known and known[name].partitions is not None
        )
    if asset.deps or asset.mapping:
        yield from _option_problems(asset)
    if asset.version is not None or asset.config:
        yield from _version_problems(asset)


def _option_problems(asset: AnyAsset) -> Iterator[str]:
    names = {parameter.name: parameter for parameter in asset.parameters}
    for option, keys in (("deps", asset.deps), ("mapping", asset.mapping)):
        for key in keys:
            if key not in names:
                yield f"{option}= names {key!r}, which is no parameter of the function; {_choices(names, key)}"
            elif names[key].upstream is None:
                yield f"{option}= names {key!r}, which never receives an asset; rename the parameter"


def _version_problems(asset: AnyAsset) -> Iterator[str]:
    taken: tuple[str, ...] | None = ()
    if asset.version is not None:
        if not asset.source:
            yield "has version= but is no source; add source=True, or remove version="
        taken = parameter_names(asset.version)
        if taken is None or not RESERVED.issuperset(taken):
            yield "version= must be a function whose only parameters are ctx and config, both optional to take"
    if asset.config and "config" not in [*(parameter.name for parameter in asset.parameters), *(taken or ())]:
        yield "declares config= but nothing reads it; add a parameter named config, or remove config="


def _partition_problem(asset: AnyAsset, parameter: Parameter, upstream: AnyAsset) -> str | None:
    mapping = asset.mapping.get(parameter.name)
    where = f"parameter {parameter.name!r}"
    if upstream.partitions is None:
        if mapping is None:
            return None
        return f"{where} has a mapping, but {upstream.name!r} is not partitioned; remove the mapping"
    if asset.partitions is None:
        return f"{where} needs {upstream.name!r}, which is partitioned, while this asset is not; give it partitions= as well"
    return _mapping_problem(where, mapping, asset.partitions, upstream.name, upstream.partitions)


def _mapping_problem(
    where: str, mapping: PartitionMapping | None, downstream: Partitions, name: str, upstream: Partitions
) -> str | None:
    if mapping is not None and mapping.needs_existing and not upstream.ordered:
        return f"{where} has the mapping {mapping.describe()}, but the keys of {name!r} have no order; partition by Daily"
    reason = upstream.mismatch(downstream)
    return f"{where} needs {name!r} of the same key, but {reason}; give both the same partitions=" if reason else None


def _cycles(known: Mapping[str, AnyAsset]) -> list[str]:
    paths = find_cycles({name: asset.upstream for name, asset in known.items()})
    return [_at(known[path[0]], f"needs itself: {path_text(path)}; remove one of these dependencies") for path in paths]


def _choices(names: Iterable[str], key: str) -> str:
    return did_you_mean(key, names) or f"it has: {', '.join(names) or 'none'}"


def _what(item: object) -> str:
    name = getattr(item, "__name__", None)
    return f"the plain {type(item).__name__} {name!r}" if name else f"{item!r}"[:100]


def _at(asset: AnyAsset, text: str) -> str:
    return f"{asset.file}:{asset.line}: asset {asset.name!r}: {text}"
