"""The faults of the system this one follows stay mended: definitions, catalogue, secrets, resources, the code, its documents."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import msgspec
import pytest

from flowstone import FlowStone, Pipeline, Retry, RetryLater, ValidationError, asset, resource, source
from flowstone.events.catalogue import CATALOGUE
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.prometheus.exposition import as_text

ROOT = Path(__file__).parents[2]


# -- W-19: the catalogue ------------------------------------------------------------------------------------------------------


def _fickle(ctx):
    ctx.progress(1, 2)
    if ctx.attempt == 1:
        raise RetryLater(0.001)
    if ctx.attempt == 2:
        raise TimeoutError
    return 1


def _impossible(first):
    return 1 / 0


def _quiet(ctx):
    ctx.skip("nothing")


def _odd(first):
    return object()


EVERYTHING = Pipeline(
    "everything",
    [
        asset(name="first")(lambda: 1),
        asset(name="fickle", retries=Retry(attempts=2, delay=0))(_fickle),
        asset(name="impossible")(_impossible),
        asset(name="behind")(lambda impossible: 1),
        asset(name="quiet")(_quiet),
        asset(name="odd")(_odd),
        source("rates", version=lambda: "1"),
    ],
)


def test_w_19_every_event_has_the_one_shape_it_is_declared_with(flow, tmp_path):
    """What runs emit is declared, and what is recorded of it has every required field and no other than the declared ones."""
    seen = []
    made = flow(EVERYTHING, home=tmp_path)
    made.attach("tests.all", "*", seen.append)
    made.attach("tests.careless", "flowstone.run.stop", _impossible)
    made.run()
    made.run("first")
    made.invalidate("first")
    names = {happened.name for happened in seen}

    assert {type(happened) for happened in seen} <= set(CATALOGUE.values())
    assert len(names) >= 17
    for event in made.events(limit=10_000):
        declared = CATALOGUE[event.name]
        assert set(event.payload) <= set(declared.__struct_fields__), event.name
        msgspec.convert({**event.payload, "at": event.at, "run_id": event.run_id or ""}, declared)  # refuses a missing field


# -- W-07: metrics ----------------------------------------------------------------------------------------------------------


def test_w_07_an_exporter_keeps_every_metric_with_its_labels(tmp_path):
    """Prometheus reads every default metric: counters end in _total, latencies are histograms of seconds, labels are there."""
    with FlowStone(Pipeline("shop", [asset(lambda: 1, name="orders")]), home=tmp_path) as flow:
        flow.run()
        families, text = {family.name: family for family in flow.metrics()}, as_text(flow.metrics()).decode()
    latencies = [name for name in families if "duration" in name and "last" not in name]

    assert {metric.name for metric in METRICS} <= families.keys()
    assert [name for name in families if f"# TYPE {name} " not in text] == []
    assert [name for name, family in families.items() if (family.kind == "counter") != name.endswith("_total")] == []
    assert {families[name].kind for name in latencies} == {"histogram"}
    assert len(latencies) >= 3
    assert [name for name in latencies if not name.endswith("_seconds")] == []
    assert 'flowstone_materialization_total{asset="orders",outcome="success",reason=""} 1.0' in text
    assert 'flowstone_io_duration_seconds_count{manager="files",operation="store",outcome="success"} 1.0' in text


# -- W-29: validation ---------------------------------------------------------------------------------------------------------


def test_w_29_everything_that_is_wrong_is_said_at_once_and_with_its_place():
    """Unknown inputs, taken names, cycles with their path and items that are no assets are told together, with their place."""
    cycle = [asset(name="a")(lambda c: 1), asset(name="b")(lambda a: 1), asset(name="c")(lambda b: 1)]
    others = [asset(name="lost")(lambda ordrs: 1), asset(name="lost")(lambda: 1), asset(name="orders")(lambda: 1)]

    with pytest.raises(ValidationError) as refused:
        Pipeline("p", [*cycle, *others, print])
    told = {
        text: [p for p in refused.value.problems if text in p] for text in ("a -> b -> c -> a", "ordrs", "is taken", "item 7")
    }

    assert [len(found) for found in told.values()] == [1, 1, 1, 1]
    assert len(refused.value.problems) == 4
    assert "did you mean 'orders'?" in told["ordrs"][0]
    assert "decorate it with @asset" in told["item 7"][0]
    places = [problem for problem in refused.value.problems if re.match(r"/.*test_definition_faults\.py:\d+: asset '", problem)]
    assert len(places) == 3


def test_w_29_a_kind_that_contradicts_itself_is_refused():
    """An asset that is asked for what its kind cannot have is refused when the pipeline is built, not in a run."""
    with pytest.raises(ValidationError, match="version"):
        Pipeline("p", [asset(name="computed", version=lambda: "1")(lambda: 1)])
    with pytest.raises(ValidationError, match="has no function to call"):
        source("rates", version=lambda: "1")()


# -- W-31: secrets and resources ------------------------------------------------------------------------------------------------


def test_w_31_an_unset_secret_fails_the_step_that_needs_it(flow, monkeypatch):
    """A secret that is not set is an error that names it, and the body does not run with ``None`` in its place."""
    ran = []

    @asset(config={"token": "secret:FLOWSTONE_W31_TOKEN"})
    def private(config):
        ran.append(config["token"])
        return 1

    made = flow(Pipeline("p", [private]))
    monkeypatch.delenv("FLOWSTONE_W31_TOKEN", raising=False)
    (failed,) = made.run().failed
    assert (failed.reason, ran) == ("settings_error", [])
    assert "FLOWSTONE_W31_TOKEN" in failed.message

    monkeypatch.setenv("FLOWSTONE_W31_TOKEN", "correct-horse")
    made.close()
    again = flow(Pipeline("p", [private]))
    assert again.run().ok
    assert ran == ["correct-horse"]


def test_w_31_resources_are_opened_checked_and_closed_in_order(flow):
    """A resource is opened once for all who need it, after what it needs, and closed before that; its health is asked."""
    told = []

    @resource
    def settings():
        told.append("open settings")
        yield {"dsn": "x"}
        told.append("close settings")

    @resource(health=lambda pool: told.append(f"healthy {pool}"))
    def pool(settings):
        told.append("open pool")
        yield "pool"
        told.append("close pool")

    @asset
    def one(pool):
        return pool

    @asset
    def two(pool, one):
        return [pool, one]

    made = flow(Pipeline("p", [one, two], resources=[settings, pool]))
    assert made.run().ok
    made.close()

    assert told == ["open settings", "open pool", "healthy pool", "close pool", "close settings"]


def test_w_31_a_resource_that_is_missing_or_ill_is_never_silently_absent(flow):
    """A resource nobody declares is refused with the pipeline; one that does not open fails those that need it, and no others."""
    ran = []

    @resource
    def database():
        raise ConnectionError("no answer")

    @asset
    def reader(database):
        ran.append("reader")
        return 1

    @asset
    def other():
        return 1

    with pytest.raises(ValidationError, match="database"):
        Pipeline("p", [reader, other])
    result = flow(Pipeline("p", [reader, other], resources=[database])).run()

    assert [(step.asset, step.reason) for step in result.failed] == [("reader", "resource_unavailable")]
    assert [step.asset for step in result.materialized] == ["other"]
    assert "no answer" in result.failed[0].message
    assert ran == []


# -- W-36, W-39: the code and its tests ---------------------------------------------------------------------------------------


def parsed(folder):
    """Path from the root → syntax tree, of every Python file below *folder*."""
    paths = [path for path in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def positional(node):
    """How many arguments a function takes by position, ``self`` left out."""
    return sum(argument.arg not in ("self", "cls") for argument in node.args.posonlyargs + node.args.args)


def test_w_36_how_an_attempt_ended_is_decided_in_one_place():
    """No function takes more than eight arguments by position; one module decides what an attempt's end means, one writes it."""
    trees = parsed("src/flowstone")
    outcomes = {"Stored", "Skipped", "Failed", "Postponed"}
    called = {file: tree for file, tree in trees.items() if "/cli/" not in file}  # a verb's function gets its options by name
    long = [f"{file}:{node.lineno}" for file, tree in called.items() for node in functions(tree) if positional(node) > 8]
    matching = {
        file
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.MatchClass) and ast.unparse(node.cls) in outcomes
    }

    deciding = {
        file
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Settlement"
    }

    assert long == []
    assert deciding == {"src/flowstone/execution/concluding.py"}
    assert matching == deciding | {"src/flowstone/execution/step.py"}


def checks(node, helpers):
    """Whether *node* asserts, expects an exception, or calls one of *helpers*."""
    expects = r"pytest\.(raises|warns|fail)|raise_if_failed|assert_\w+|check_\w+|refused?|run_state_machine_as_test"
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call):
            called = ast.unparse(inner.func)
            if re.fullmatch(rf"(.*\.)?({expects})", called) or called.rpartition(".")[2] in helpers:
                return True
    return False


def test_w_39_every_test_can_fail():
    """Each test asserts something, expects an exception, or calls a function of its own module that does."""
    idle = []
    for file, tree in parsed("tests").items():
        every = functions(tree)
        helpers = {node.name for node in every if not node.name.startswith("test_") and checks(node, set())}
        helpers |= {node.name for node in every if not node.name.startswith("test_") and checks(node, helpers)}
        idle += [f"{file}:{n.lineno} {n.name}" for n in every if n.name.startswith("test_") and not checks(n, helpers)]

    assert idle == []


# -- W-40: documents ----------------------------------------------------------------------------------------------------------


def imports(code):
    """Module and name of everything *code* imports from FlowStone."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    return [(node.module, alias.name) for node in nodes if (node.module or "").startswith("flowstone") for alias in node.names]


def test_w_40_documents_name_nothing_that_does_not_exist():
    """What the README, the guides and the examples import from FlowStone can be imported; that they run is tested elsewhere."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    fenced = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    blocks = [(page.name, code) for page in pages for code in fenced.findall(page.read_text("utf-8"))]
    blocks += [(path.name, path.read_text("utf-8")) for path in sorted((ROOT / "examples").glob("*.py"))]
    named = [(page, module, name) for page, code in blocks for module, name in imports(code)]
    missing = [place for place in named if not hasattr(importlib.import_module(place[1]), place[2])]

    assert len(blocks) > 20
    assert len({name for _, _, name in named}) > 20
    assert missing == []
