"""Declaring assets: the decorator, its options, the parameters."""

import functools
import inspect

import pytest

from flowstone.assets import Asset, Daily, Pipeline, Retry, asset, definition_digest, latest_before, source
from flowstone.assets.signature import NO_DEFAULT
from flowstone.foundation.errors import ValidationError


@asset
def orders(ctx):
    """Orders of the day.

    More text.
    """
    return [ctx, 1]


def test_the_function_stays_callable():
    """A declared function can be called and inspected as before."""
    assert orders("here") == ["here", 1]
    assert list(inspect.signature(orders).parameters) == ["ctx"]


def test_a_bare_asset_is_described_by_its_function():
    """Name, file, line and description come from the function."""
    assert (orders.name, orders.kind, orders.description) == ("orders", "asset", "Orders of the day.")
    assert orders.file == __file__
    assert orders.line == inspect.getsourcelines(orders.function)[1]


def test_parameters_in_order():
    """Parameters are the context, the configuration or assets; a default makes an asset optional; deps gives another name."""

    @asset(deps={"o": orders, "r": "rates"}, after=["x", orders])
    def totals(o, ctx, r: int, previous=None, *, config=None, extra: "int" = 3):
        return o, ctx, r, previous, config, extra

    assert [(p.name, p.kind, p.upstream, p.optional) for p in totals.parameters] == [
        ("o", "asset", "orders", False),
        ("ctx", "ctx", None, False),
        ("r", "asset", "rates", False),
        ("previous", "asset", "previous", True),
        ("config", "config", None, True),
        ("extra", "asset", "extra", True),
    ]
    assert totals.parameters[0].default is NO_DEFAULT
    assert totals.parameters[5].default == 3
    assert totals.upstream == ("orders", "rates", "previous", "extra", "x")
    assert [totals.annotation_of(p) for p in totals.parameters] == [None, None, int, None, None, int]


def test_options_are_kept():
    """Every option is an attribute of the asset in one form; retries=3 means three attempts."""
    day, mapping = Daily("2026-01-01"), latest_before()

    @asset(name="n", partitions=day, mapping={"p": mapping}, retries=3, code_version="2", config={"k": "secret:KEY"}, source=True,
           version=lambda: "v", io="memory", format="json", description="D", tags=["t"], owners=["o"])  # fmt: skip
    def body(p):
        return p

    assert (body.name, body.partitions, body.mapping, body.retries) == ("n", day, {"p": mapping}, Retry(attempts=3))
    assert (body.code_version, dict(body.config), body.source) == ("2", {"k": "secret:KEY"}, True)
    assert (body.io, body.format) == ("memory", "json")
    assert (body.description, body.tags, body.owners, body.kind) == ("D", ("t",), ("o",), "source")


@pytest.mark.parametrize(
    "wrong",
    [{"deps": ["a"]}, {"deps": {"a": 1}}, {"after": "orders"}, {"after": [1]}, {"partitions": "daily"},
     {"mapping": {"a": "same"}}, {"mapping": {"a": latest_before}}, {"retries": 0}, {"retries": False}, {"retries": "3"},
     {"code_version": 2}, {"code_version": ""}, {"config": ["a"]}, {"config": {"a": object()}}, {"source": "yes"},
     {"version": "v1"}, {"io": 3}, {"format": ""}, {"description": 3}, {"tags": "daily"}, {"owners": [""]}],
)  # fmt: skip
def test_wrong_options_fail_at_once(wrong):
    """An option of the wrong kind fails at the declaration; the message names the asset and the option, the hint the fix."""
    with pytest.raises(ValidationError) as caught:
        asset(name="sums", **wrong)(lambda ctx: ctx)
    assert "asset 'sums': " + next(iter(wrong)) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "größe", "x" * 201, "a\n", 3])
def test_impossible_names(name):
    """A name that is no plain identifier, or too long, is refused."""
    with pytest.raises(ValidationError, match="cannot name an asset"):
        asset(name=name)(lambda: 1)
    assert asset(name="x" * 200)(lambda: 1).name == "x" * 200


@pytest.mark.parametrize("thing", ["orders", 3, dict, None])
def test_only_functions_are_assets(thing):
    """The decorator on something else fails with the right way to write it."""
    with pytest.raises(ValidationError, match=r"no function|cannot name"):
        asset(name="x")(thing) if thing is None else asset(thing)


def test_an_unnamed_function_needs_a_name():
    """A lambda has no usable name, so one is asked for."""
    with pytest.raises(ValidationError, match="lambda"):
        asset(lambda: 1)


def test_wrapped_functions_keep_their_own_signature():
    """A decorator that uses functools.wraps hides neither the parameters nor the place of the function."""

    def loud(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return [function(*args, **kwargs)]

        return wrapper

    @asset
    @loud
    def doubled(orders):
        return orders * 2

    assert [p.name for p in doubled.parameters] == ["orders"]
    assert doubled.problems == ()
    assert doubled(2) == [4]
    assert doubled.line > orders.line


def test_partials_are_assets():
    """A partial function asks for what is left to give; what was given by name becomes optional."""
    part = asset(name="part")(functools.partial(lambda ctx, a, b: (ctx, a, b), b=2))
    assert [(p.name, p.optional) for p in part.parameters] == [("ctx", False), ("a", False), ("b", True)]


def test_text_annotations_are_resolved_late():
    """Annotations written as text are looked up when asked for, in the names around the function too."""
    local = dict[str, int]

    @asset
    def typed(a: "local", b: "nowhere.Frame") -> "list[int]":  # noqa: F821
        return [a, b, local]

    assert typed.annotation_of(typed.parameters[0]) == local
    assert typed.return_annotation() == list[int]
    with pytest.raises(ValidationError, match=r"'nowhere\.Frame' of 'b'") as caught:
        typed.annotation_of(typed.parameters[1])
    assert "TYPE_CHECKING" in (caught.value.hint or "")


def test_annotations_of_enclosing_functions_come_first():
    """A name of the function around hides the same name of the module and of Python."""
    Daily = list = dict[str, int]  # noqa: A001, N806 - hides both on purpose

    @asset
    def typed(a: "Daily", b: "list"):
        return a, b, Daily, list

    assert [typed.annotation_of(p) for p in typed.parameters] == [dict[str, int], dict[str, int]]


def test_no_parameter_name_disturbs_the_digest():
    """Parameters may be called what the asset keeps for itself: their annotations and the digest stay apart."""

    @asset
    def typed(digest: "str", code: "int") -> "bytes":
        return b"%r%r" % (digest, code)

    before = definition_digest(asset(name="typed")(typed.function))
    assert [typed.annotation_of(p) for p in typed.parameters] == [str, int]
    assert definition_digest(typed) == before
    assert [typed.annotation_of(p) for p in typed.parameters] == [str, int]
    assert typed.return_annotation() is bytes


def test_observed_sources_have_no_body():
    """A source without a body has a version, a place and no function; calling it says so."""

    def fingerprint(ctx, config):
        return f"{ctx}{config}"

    rates = source("rates", version=fingerprint, config={"a": 1}, owners=["bank"])
    assert isinstance(rates, Asset)
    assert (rates.kind, rates.observed, rates.source, rates.file) == ("observed", True, True, __file__)
    assert rates.version_parameters == ("ctx", "config")
    assert Pipeline("p", [rates])["rates"] is rates
    with pytest.raises(ValidationError, match="observed only"):
        rates()
