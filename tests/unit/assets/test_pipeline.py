"""Pipelines: everything is checked at once."""

from collections.abc import Generator, Iterable, Iterator  # noqa: F401 - for annotations written as text
from typing import Any  # noqa: F401

import numpy as np  # noqa: F401
import polars as pl  # noqa: F401
import pyarrow as pa  # noqa: F401
import pytest

from flowstone.assets import Daily, Keys, Pipeline, Static, asset, latest_before, same, source
from flowstone.foundation.errors import NotFoundError, ValidationError

DAY = Daily("2026-01-01")


def make(name, *needs, **options):
    """An asset of this name that needs the given ones."""
    return asset(name=name, deps={f"p{i}": need for i, need in enumerate(needs)}, **options)(_BODIES[len(needs)])


_BODIES = [lambda: 0, lambda p0: p0, lambda p0, p1: (p0, p1)]


def problems_of(*assets):
    """What is wrong with these assets."""
    with pytest.raises(ValidationError) as caught:
        Pipeline("p", assets)
    return caught.value.problems


def test_a_valid_pipeline():
    """A pipeline keeps the declared order, gives assets by name and knows its graph."""
    totals, orders = make("totals", "orders"), make("orders")
    pipeline = Pipeline("shop", [totals, orders])
    assert list(pipeline) == [totals, orders]
    assert pipeline["orders"] is orders
    assert "totals" in pipeline
    assert "other" not in pipeline
    assert pipeline.graph.order == ("orders", "totals")
    with pytest.raises(NotFoundError, match="did you mean 'orders'"):
        pipeline["order"]


def test_all_problems_come_at_once():
    """One error lists every problem, each with the place and the asset."""
    found = problems_of(make("a", "nope"), make("b", "c"), make("c", "b"), make("d"), make("d"), make("ctx"), len)
    assert len(found) == 5
    assert all(part.startswith(f"{__file__}:") and ": asset '" in part for part in found if not part.startswith("item 7"))


def test_unknown_dependencies_suggest_the_closest():
    """A misspelt dependency, required, optional or only ordered after, names the likely asset."""
    optional = asset(name="b")(lambda ordres=None: ordres)
    found = problems_of(make("orders"), make("a", "ordrs"), optional, make("c", after=["order"]))
    assert len(found) == 3
    assert all("did you mean 'orders'?" in problem for problem in found)
    assert "after names 'order'" in found[2]


def test_duplicates_name_both_places():
    """Two assets of one name are reported with both places; one asset listed twice is reported as that."""
    first = make("a")

    @asset(name="a")
    def second():
        return 1

    (problem,) = problems_of(first, second)
    assert problem.startswith(f"{second.file}:{second.line}: ")
    assert f"{first.file}:{first.line}" in problem
    (problem,) = problems_of(first, first)
    assert "listed twice" in problem


def test_cycles_show_their_path():
    """A cycle is reported with its path in the direction data flows; ordering with after counts."""
    (problem,) = problems_of(make("a", "c"), make("b", "a"), make("c", after=["b"]))
    assert "a -> b -> c -> a" in problem


def test_reserved_names():
    """No asset can have the name of a special parameter."""
    assert all("reserved" in problem for problem in problems_of(make("ctx"), make("config")))


def test_bad_signatures():
    """Parameters that cannot be passed by name are reported, not raised at the declaration."""
    many = asset(name="many")(lambda *args, **kwargs: (args, kwargs))
    positional = asset(name="positional")(lambda a, /: a)
    found = problems_of(make("a"), many, positional)
    assert [part for part in ("*args", "**kwargs", "positional-only") if any(part in problem for problem in found)] == [
        "*args",
        "**kwargs",
        "positional-only",
    ]


def test_options_for_parameters_that_are_not_there():
    """Both deps and mapping must name parameters that receive assets."""
    wrong = asset(name="b", deps={"orders": "a", "ctx": "a"}, mapping={"prev": same()})(lambda ctx, order=None: (ctx, order))
    found = problems_of(make("a"), make("order"), wrong)
    assert len(found) == 3
    assert "did you mean 'order'" in found[0]
    assert "never receives an asset" in found[1]


@pytest.mark.parametrize(
    ("downstream", "upstream", "mapping", "why"),
    [
        (None, DAY, None, "give it partitions= as well"),
        (DAY, None, same(), "not partitioned; remove the mapping"),
        (DAY, Static(["a"]), None, "its keys are str, not date"),
        (DAY, Daily("2026-01-01", timezone="Asia/Tokyo"), None, "days are those of Asia/Tokyo, not of UTC"),
        (Static(["a", "b"]), Static(["a"]), None, "no key b"),
        (Static(["a"]), Static(["a"]), latest_before(), "have no order"),
        (Keys(int), Keys(str), None, "its keys are str, not int"),
    ],
)
def test_partitions_that_do_not_fit(downstream, upstream, mapping, why):
    """Keys that cannot be mapped are found before anything runs, and the reason is told."""
    options = {"mapping": {"p0": mapping}} if mapping else {}
    (problem,) = problems_of(make("up", partitions=upstream), make("down", "up", partitions=downstream, **options))
    assert why in problem


@pytest.mark.parametrize(
    ("downstream", "upstream", "mapping"),
    [
        (DAY, None, None),
        (DAY, Daily("2025-01-01"), None),
        (DAY, DAY, latest_before()),
        (Static(["a"]), Static(["a", "b"]), None),
        (Static(["a"]), Keys(str), same()),
    ],
)
def test_partitions_that_fit(downstream, upstream, mapping):
    """The same kind of keys, a subset, an unpartitioned upstream and a mapping over ordered keys are fine."""
    options = {"mapping": {"p0": mapping}} if mapping else {}
    assert len(Pipeline("p", [make("up", partitions=upstream), make("down", "up", partitions=downstream, **options)])) == 2


def test_versions_belong_to_sources():
    """version= needs source=True and a function of ctx and config only; config= needs a reader."""
    wrong = make("b", source=True, version=lambda path: path)
    no_source, other_parameters, no_reader = problems_of(make("a", version=lambda: "1"), wrong, make("c", config={"k": 1}))
    assert "is no source" in no_source
    assert "only parameters are ctx and config" in other_parameters
    assert "nothing reads it" in no_reader
    Pipeline("p", [make("a", source=True, config={"k": 1}, version=lambda config: config["k"])])


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".hidden", None, "x" * 201])
def test_pipeline_names(name):
    """A pipeline's name is a plain word."""
    with pytest.raises(ValidationError, match="cannot name a pipeline"):
        Pipeline(name, [])


def test_thousands_of_unknown_names_are_reported_quickly():
    """Looking for similar names is bounded, so a wholly wrong pipeline is still answered."""
    found = problems_of(*(make(f"a{i}", f"missing_{i}") for i in range(3000)))
    assert len(found) == 3000


def test_the_digest_is_of_the_definition():
    """Equal definitions have equal digests wherever they stand; another owner makes another definition."""

    def build(**options):
        return Pipeline("p", [make("a", **options), source("s", version=lambda: "1")])

    digest = build().digest()
    assert digest == build().digest()
    assert digest != build(owners=["me"]).digest()
    assert [item["name"] for item in build().definition()["assets"]] == ["a", "s"]


def test_asynchronous_generators_are_refused():
    """An ``async def`` that yields is a problem of the pipeline; one that returns, and a generator, are fine."""

    @asset
    async def one_by_one():
        yield 1

    @asset
    async def later():
        return 1

    @asset
    def lines():
        yield "a"

    (problem,) = problems_of(one_by_one, later, lines)
    assert "is an async generator, which cannot be stored piece by piece" in problem
    assert [one_by_one.gives, later.gives, lines.gives] == ["async generator", "coroutine", "generator"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("Iterator[int]", "yields int, which cannot be stored piece by piece"),
        ("Generator[dict[str, int], None, None]", "yields dict, which cannot"),
        ("Iterable[np.ndarray]", "yields ndarray, which cannot"),
        ("list[str]", "yields, but says it returns list; annotate Iterator"),
        ("pl.DataFrame", "yields, but says it returns DataFrame; annotate Iterator"),
    ],
)
def test_a_generator_that_says_what_cannot_be_streamed_is_refused(said, problem):
    """What a generator function's annotation says of its pieces is checked before anything runs."""
    (found,) = problems_of(_yields(said))
    assert problem in found


@pytest.mark.parametrize(
    "said",
    ["Iterator[pl.DataFrame]", "Iterable[pa.RecordBatch]", "Generator[bytes, None, None]", "Iterator", "Iterator[str | bytes]",
     "Iterator[Any]", "object", "not_there.Frame", "None"],
)  # fmt: skip
def test_a_generator_that_may_be_streamed_is_fine(said):
    """Annotations of what is streamed, and those that tell nothing, are left to the first piece."""
    assert len(Pipeline("p", [_yields(said)])) == 1


def _yields(said):
    """A generator asset that is annotated so."""

    @asset
    def pieces():
        yield b""

    pieces.function.__annotations__["return"] = said
    return pieces


def test_an_order_after_a_partition_needs_to_know_which():
    """An asset without partitions cannot come after one that has them: nobody could say after which of them."""
    (problem,) = problems_of(make("daily", partitions=Daily("2026-01-01")), make("once", after=["daily"]))
    assert "comes after 'daily', which has partitions" in problem
