"""Every rule a set of assets must keep; the answer is the list of all that is broken."""

from __future__ import annotations

import typing
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any

from flowstone.assets.asset import AnyAsset, Asset
from flowstone.assets.graph import find_cycles, path_text
from flowstone.assets.mappings import Last, PartitionMapping, gathers
from flowstone.assets.partitions import Partitions
from flowstone.assets.resources import Resource
from flowstone.assets.signature import RESERVED, Parameter, parameter_names
from flowstone.foundation.errors import ValidationError, did_you_mean

SUGGESTIONS = 10  # looking for similar names costs more than all other checks together

STREAMED = frozenset(
    {("pyarrow", "RecordBatch"), ("pyarrow", "Table"), ("polars", "DataFrame"), ("pandas", "DataFrame"), ("builtins", "str"),
     ("builtins", "bytes")}
)  # fmt: skip
"""What a generator may yield, by library and class: the pieces that are stored as they come."""

_NO_CLASSES: tuple[Any, ...] = (object, Any, typing.Annotated, typing.Union, UnionType)


def find_problems(items: Sequence[object], resources: Sequence[object] = ()) -> list[str]:
    """Return what is wrong with *items* and *resources* as a pipeline's, each as ``file:line: asset 'x': ...``."""
    known: dict[str, AnyAsset] = {}
    declared: dict[str, Resource] = {}
    problems = [*_named(items, Asset, "asset", known), *_named(resources, Resource, "resource", declared)]
    unknown = _Unknown(known, declared)
    for asset in known.values():
        if (
            asset.parameters or asset.after or asset.problems or asset.deps or asset.mapping or asset.version or asset.config
            or asset.gives != "value"
        ):  # fmt: skip
            problems.extend(_at(asset, text) for text in _problems_of(asset, known, declared, unknown))
        if asset.name in RESERVED:
            problems.append(_at(asset, f"{asset.name!r} is reserved for the parameter of that name; choose another name"))
    for resource in declared.values():
        problems.extend(_at(resource, text) for text in _resource_problems(resource, known, declared))
    return [*problems, *_cycles(known, declared)]


def _named(items: Sequence[Any], cls: Any, kind: str, known: dict[str, Any]) -> Iterator[str]:
    """Put the *items* of the right kind into *known* by name; yield what is no such thing and what is there twice."""
    for number, item in enumerate(items, 1):
        if not isinstance(item, cls):
            other = "resource" if kind == "asset" else "asset"
            if isinstance(item, Asset | Resource):
                yield _at(item, f"stands among the {kind}s; list it among the {other}s of the pipeline")
            else:
                yield f"{'item' if kind == 'asset' else 'resource'} {number} is {_what(item)}; decorate it with @{kind}"
        elif item.name not in known:
            known[item.name] = item
        elif known[item.name] is item:
            yield _at(item, "is listed twice; list it once")
        else:
            first = known[item.name]
            yield _at(item, f"the name is taken by the {kind} at {first.file}:{first.line}; rename one of them")


class _Unknown:
    """Says that a name is no asset's, with a suggestion for the first few."""

    def __init__(self, known: Mapping[str, AnyAsset], declared: Mapping[str, Resource]) -> None:
        self._names = [*known, *declared]
        self._kinds = "asset or resource" if declared else "asset"
        self._left = SUGGESTIONS

    def text(self, what: str, name: str) -> str:
        hint = None
        if self._left:
            self._left -= 1
            hint = did_you_mean(name, self._names)
        return (
            f"{what} names {name!r}, which is no {self._kinds} of the pipeline; {hint or 'add it to the pipeline or use deps='}"
        )


def _problems_of(
    asset: AnyAsset, known: Mapping[str, AnyAsset], declared: Mapping[str, Resource], unknown: _Unknown
) -> Iterator[str]:
    yield from asset.problems
    for parameter in asset.parameters:
        if parameter.upstream is None:
            continue
        upstream = known.get(parameter.upstream)
        if upstream is None:
            if parameter.upstream not in declared:
                yield unknown.text(f"parameter {parameter.name!r}", parameter.upstream)
        elif asset.partitions is not upstream.partitions or asset.mapping:
            problem = _partition_problem(asset, parameter, upstream)
            if problem:
                yield problem
    yield from _after_problems(asset, known, declared, unknown)
    if asset.deps or asset.mapping:
        yield from _option_problems(asset, declared)
    if asset.version is not None or asset.config:
        yield from _version_problems(asset)
    if asset.gives == "generator":
        yield from _stream_problems(asset)


def _after_problems(
    asset: AnyAsset, known: Mapping[str, AnyAsset], declared: Mapping[str, Resource], unknown: _Unknown
) -> Iterator[str]:
    for name in asset.after:
        if name in declared and name not in known:
            yield f"after names the resource {name!r}; after= orders assets: receive the resource by a parameter instead"
        elif name not in known:
            yield unknown.text("after", name)
        elif asset.partitions is None and known[name].partitions is not None:
            yield f"comes after {name!r}, which has partitions, and has none itself; give it partitions or leave out after="


def _stream_problems(asset: AnyAsset) -> Iterator[str]:
    """What the return annotation of a generator function says of its pieces; one that says nothing is told by the first piece."""
    try:
        said = asset.return_annotation()
    except ValidationError:
        return  # the attempt says so; a name that is only there at run time is no fault of the pipeline
    cls = _plain_class(said)
    if cls is None:
        return
    if not issubclass(Generator, cls):
        yield f"yields, but says it returns {cls.__name__}; annotate Iterator[...] of what it yields, or return one value"
        return
    piece = _plain_class((typing.get_args(said) or (None,))[0])
    if piece is not None and (piece.__module__.partition(".")[0], piece.__name__) not in STREAMED:
        yield f"yields {piece.__name__}, which cannot be stored piece by piece; yield frames, record batches, str or bytes"


def _plain_class(annotation: Any) -> type | None:
    """The class an annotation names; ``None`` for what may be several or anything."""
    cls = typing.get_origin(annotation) or annotation
    return cls if isinstance(cls, type) and cls not in _NO_CLASSES else None


def _resource_problems(resource: Resource, known: Mapping[str, AnyAsset], declared: Mapping[str, Resource]) -> Iterator[str]:
    yield from resource.problems
    if resource.name in RESERVED:
        yield f"{resource.name!r} is reserved for the parameter of that name; choose another name"
    if resource.name in known:
        other = known[resource.name]
        yield f"the name is taken by the asset at {other.file}:{other.line}; rename one of them"
    names = [parameter.name for parameter in resource.parameters]
    if "ctx" in names:
        yield "takes ctx, but it is not part of one attempt: what it prints and raises belongs to the attempt that opens it"
    for parameter, needed in resource.needs.items():
        if needed in declared:
            if resource.scope == "process" and declared[needed].scope == "run":
                yield f"needs {needed!r}, which is closed with its run, and outlives it; give both the same scope"
        elif needed in known:
            yield f"parameter {parameter!r} names an asset; a resource receives config and other resources"
        else:
            hint = did_you_mean(needed, declared) or "add it to resources="
            yield f"parameter {parameter!r} names {needed!r}, which is no resource of the pipeline; {hint}"
    if resource.config and "config" not in names:
        yield "declares config= but nothing reads it; add a parameter named config, or remove config="


def _option_problems(asset: AnyAsset, declared: Mapping[str, Resource]) -> Iterator[str]:
    names = {parameter.name: parameter for parameter in asset.parameters}
    for option, keys in (("deps", asset.deps), ("mapping", asset.mapping)):
        for key in keys:
            if key not in names:
                yield f"{option}= names {key!r}, which is no parameter of the function; {_choices(names, key)}"
            elif names[key].upstream is None:
                yield f"{option}= names {key!r}, which never receives an asset; rename the parameter"
            elif option == "mapping" and names[key].upstream in declared:
                yield f"mapping= names {key!r}, which receives the resource {names[key].upstream!r}; remove the mapping"


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
    if gathers(mapping):
        return _gathering_problem(where, mapping, asset.partitions, upstream)
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


def _gathering_problem(
    where: str, mapping: PartitionMapping | None, downstream: Partitions | None, upstream: AnyAsset
) -> str | None:
    if not isinstance(mapping, Last) or upstream.partitions is None:
        return None  # other mappings may make any key of any other
    if not upstream.partitions.ordered:
        return (
            f"{where} has the mapping {mapping.describe()}, but the keys of {upstream.name!r} have no order; use all_partitions()"
        )
    reason = upstream.partitions.mismatch(downstream) if downstream is not None else None
    return f"{where} needs the last keys of {upstream.name!r}, but {reason}; give both the same partitions=" if reason else None


def _cycles(assets: Mapping[str, AnyAsset], resources: Mapping[str, Resource]) -> Iterator[str]:
    graphs: list[tuple[Mapping[str, AnyAsset | Resource], dict[str, Sequence[str]]]] = [
        (assets, {name: asset.upstream for name, asset in assets.items()}),
        (resources, {name: tuple(resource.needs.values()) for name, resource in resources.items()}),
    ]
    for known, edges in graphs:
        for path in find_cycles(edges):
            yield _at(known[path[0]], f"needs itself: {path_text(path)}; remove one of these dependencies")


def _choices(names: Iterable[str], key: str) -> str:
    return did_you_mean(key, names) or f"it has: {', '.join(names) or 'none'}"


def _what(item: object) -> str:
    name = getattr(item, "__name__", None)
    return f"the plain {type(item).__name__} {name!r}" if name else f"{item!r}"[:100]


def _at(thing: AnyAsset | Resource, text: str) -> str:
    return f"{thing.file}:{thing.line}: {'resource' if isinstance(thing, Resource) else 'asset'} {thing.name!r}: {text}"
