"""Declaring resources, and what a pipeline checks of them."""

from __future__ import annotations

import functools

import pytest

from flowstone.assets import Pipeline, Resource, Retry, asset, definition_digest, resource, same
from flowstone.foundation.errors import ResourceError, ValidationError


@resource(scope="run", limit=2, config={"dsn": "secret:DSN"})
def warehouse(config):
    """Connections to the warehouse.

    More text.
    """
    yield config["dsn"]


@resource
def tables(warehouse):
    return [warehouse]


def named(name, *needs, **options):
    """A resource of this name that needs the given ones."""
    parameters = ", ".join(needs)
    return resource(name=name, **options)(eval(compile(f"lambda {parameters}: ({parameters})", __file__, "eval")))


def problems_of(assets, resources):
    """What is wrong with these assets and resources."""
    with pytest.raises(ValidationError) as caught:
        Pipeline("p", assets, resources=resources)
    return caught.value.problems


@asset
def orders(tables, ctx):
    return [tables, ctx]


def test_a_resource_is_described_by_its_function():
    """Name, place, description, parameters and options of a resource are attributes; it can be called as before."""
    assert isinstance(warehouse, Resource)
    assert (warehouse.name, warehouse.scope, warehouse.limit, warehouse.needs) == ("warehouse", "run", 2, {})
    assert (warehouse.description, warehouse.file, warehouse.problems) == ("Connections to the warehouse.", __file__, ())
    assert list(warehouse({"dsn": "x"})) == ["x"]
    assert (tables.scope, tables.needs, tables("w")) == ("process", {"warehouse": "warehouse"}, ["w"])
    assert repr(tables) == f"<resource 'tables' at {__file__}:{tables.line}>"


@pytest.mark.parametrize(
    "wrong", [{"scope": "step"}, {"limit": 0}, {"limit": True}, {"health": "ping"}, {"config": ["dsn"]}], ids=str
)
def test_wrong_options_fail_at_once(wrong):
    """An option of the wrong kind fails at the declaration and names the resource and the option."""
    with pytest.raises(ValidationError) as caught:
        resource(name="db", **wrong)(lambda config: config)
    assert "resource 'db': " + next(iter(wrong)) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("thing", ["db", 3, dict])
def test_only_functions_are_resources(thing):
    """The decorator on something else fails with the right way to write it."""
    with pytest.raises(ValidationError, match="which is no function"):
        resource(thing)
    with pytest.raises(ValidationError, match="cannot name a resource"):
        resource(lambda: 1)


def test_assets_receive_resources_by_name_or_alias():
    """A parameter named like a resource, or given one by deps, receives it and makes no edge of the graph."""

    @asset(deps={"db": warehouse, "o": orders})
    def totals(db, o):
        return [db, o]

    pipeline = Pipeline("p", [orders, totals], resources=[tables, named("warehouse")])
    assert pipeline.graph.upstream("totals") == ("orders",)
    assert pipeline.graph.order == ("orders", "totals")
    assert pipeline.resources_of("orders") == ("warehouse", "tables")
    assert pipeline.resources_of("totals") == ("warehouse",)
    assert Pipeline("p", [asset(name="a")(lambda: 1)]).resources_of("a") == ()


def test_many_ways_to_one_resource_open_it_once():
    """A resource that is needed in many ways is named once, before all that need it."""
    layers = [named("r0"), *(named(f"r{number}", *{f"r{number - 1}", "r0"}) for number in range(1, 40))]
    pipeline = Pipeline("p", [asset(name="a")(lambda r39: r39)], resources=layers)
    assert pipeline.resources_of("a") == tuple(f"r{number}" for number in range(40))


def test_every_problem_of_resources_is_told():
    """Clashes, cycles, reserved and unknown names, scopes that do not fit: all at once, each with the place and the name."""
    wrong = [
        named("orders"), named("config"), named("a", "b"), named("b", "a"), named("lost", "warehose"), named("of_asset", "sales"),
        named("within", "ctx"), named("short", scope="run"), named("long", "short"), named("unread", config={"k": 1}),
        warehouse, warehouse, asset(name="stray")(lambda: 1), len,
    ]  # fmt: skip
    found = problems_of([asset(name="orders")(lambda: 1), asset(name="sales")(lambda: 1), tables], wrong)

    for part in (
        "resource 'orders': the name is taken by the asset at", "resource 'config': 'config' is reserved",
        "resource 'a': needs itself: a -> b -> a", "'warehose', which is no resource of the pipeline; did you mean 'warehouse'?",
        "'sales' names an asset", "'within': takes ctx", "'long': needs 'short', which is closed with its run",
        "'unread': declares config= but nothing reads it", "'warehouse': is listed twice",
        "asset 'stray': stands among the resources", "resource 14 is the plain", "resource 'tables': stands among the assets",
    ):  # fmt: skip
        assert [problem for problem in found if part in problem] != [], part
    assert len(found) == 12
    assert all(problem.startswith(f"{__file__}:") for problem in found if "the plain" not in problem)


def test_two_resources_of_one_name_are_told_with_both_places():
    """The second resource of a name is a problem that names the place of the first."""
    (problem,) = problems_of([], [warehouse, named("warehouse")])
    assert f"the name is taken by the resource at {__file__}:{warehouse.line}" in problem


def test_assets_are_told_what_is_no_asset_and_no_resource():
    """A misspelt resource suggests the right one; a resource has no mapping, and nothing comes after it."""
    late = asset(name="late", after=[warehouse], mapping={"warehouse": same()})(lambda warehouse: warehouse)
    found = problems_of([asset(name="a")(lambda warehose: warehose), late], [named("warehouse")])
    assert "which is no asset or resource of the pipeline; did you mean 'warehouse'?" in found[0]
    assert "after names the resource 'warehouse'" in found[1]
    assert "which receives the resource 'warehouse'; remove the mapping" in found[2]


def test_asynchronous_resources_are_refused():
    """A resource that is ``async def``, generator or not, behind a partial too, is a problem that says what to do."""

    async def opened():
        return 1

    async def streamed():
        yield 1

    declared = [resource(opened), resource(streamed), resource(name="part")(functools.partial(opened))]
    assert ["open it with def" in problem for problem in problems_of([], declared)] == [True, True, True]


def test_the_definition_lists_resources():
    """The pipeline's definition has its resources and each asset those it receives; where they stand is no part of the digest."""

    def build(line, **options):
        made = resource(name="db", **options)(lambda config: config)
        moved = Resource(**{field: getattr(made, field) for field in made.__struct_fields__} | {"line": line})
        return Pipeline("p", [asset(name="a", code_version="1")(lambda db: db)], resources=[moved])

    pipeline = build(1, limit=3, config={"dsn": 1})
    (described,) = pipeline.definition()["resources"]
    assert {key: described[key] for key in ("name", "scope", "limit", "health", "needs", "config")} == {
        "name": "db", "scope": "process", "limit": 3, "health": False, "needs": [], "config": ["dsn"],
    }  # fmt: skip
    (used,) = pipeline.definition()["assets"]
    assert (used["resources"], used["upstream"]) == (["db"], [])
    assert pipeline.digest() == build(2, limit=3, config={"dsn": 1}).digest()
    assert pipeline.digest() != build(1, limit=4, config={"dsn": 1}).digest()


def test_only_the_name_of_a_resource_enters_the_digest_of_an_asset():
    """Another resource of the same name outdates nothing; receiving one of another name does."""

    def digest(name, **options):
        used = asset(name="a", deps={"db": name})(lambda db: db)
        Pipeline("p", [used], resources=[named(name, **options)])
        return definition_digest(used)

    assert digest("one") == digest("one", limit=3) != digest("two")


def test_a_policy_looks_at_why_a_resource_could_not_be_opened():
    """A resource that failed is tried again by policies for all exceptions, and by those that name the cause."""
    error = ResourceError("resource 'db' could not be opened")
    error.__cause__ = TimeoutError()
    assert Retry(2).should_retry(error)
    assert Retry(2, on=(TimeoutError,)).should_retry(error)
    assert not Retry(2, on=(KeyError,)).should_retry(error)
