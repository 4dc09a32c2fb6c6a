"""Reuse never lies: a value is taken as it is only while everything it depends on is as it was."""

from __future__ import annotations

import textwrap

import pytest

from flowstone import Pipeline, asset, source
from flowstone.foundation.loading import load_module


@pytest.fixture
def project(tmp_path, flow):
    """A function that writes a pipeline file, loads it anew and runs it in a FlowStone of its own, as a new process would."""

    def run(text, targets=None, **options):
        path = tmp_path / "shop_under_test.py"
        path.write_text("from flowstone import *\n" + textwrap.dedent(text))
        module = load_module(str(path), tmp_path)
        made = flow(module.pipeline, home=tmp_path / "home")
        result = made.run(targets, **options)
        return {step.asset: step for steps in (result.materialized, result.reused, result.failed) for step in steps}, made

    return run


TWO = """
    FACTOR = 2

    @asset
    def orders():
        return [1, 2, 3]

    @asset
    def total(orders):
        return sum(orders) * FACTOR

    pipeline = Pipeline("p", [orders, total])
"""


def statuses(found):
    return {name: step.status for name, step in found.items()}


def test_nothing_changed_nothing_computed(project):
    """A second run, in another process, reuses everything and says since when."""
    project(TWO)
    again, made = project(TWO)

    assert statuses(again) == {"orders": "reused", "total": "reused"}
    assert "unchanged since" in again["total"].message
    assert made.get("total") == 12


def test_a_comment_changes_nothing(project):
    """Comments, docstrings and layout are not the definition."""
    project(TWO)
    commented = TWO.replace("return sum(orders)", '"""The total."""\n        # all of it\n\n        return  sum( orders )')
    again, _ = project(commented)

    assert statuses(again) == {"orders": "reused", "total": "reused"}


def test_changed_code_is_computed_with_what_it_changes(project):
    """New code outdates the asset; what depends on it follows when its bytes are others."""
    project(TWO)
    again, made = project(TWO.replace("[1, 2, 3]", "[1, 2, 4]"))

    assert statuses(again) == {"orders": "success", "total": "success"}
    assert made.get("total") == 14


def test_a_changed_constant_of_the_module_is_changed_code(project):
    """What a function reads of its module belongs to its definition."""
    project(TWO)
    again, made = project(TWO.replace("FACTOR = 2", "FACTOR = 3"))

    assert statuses(again) == {"orders": "reused", "total": "success"}
    assert made.get("total") == 18


def test_the_same_bytes_outdate_nothing(project):
    """An upstream that is computed anew to the same bytes leaves its dependants as they are."""
    project(TWO)
    again, _ = project(TWO.replace("[1, 2, 3]", "list(range(1, 4))"))

    assert statuses(again) == {"orders": "success", "total": "reused"}


def test_a_code_version_pins_the_code(project):
    """With a ``code_version`` the code is not looked at, until the version changes."""
    pinned = TWO.replace("@asset\n    def total", '@asset(code_version="1")\n    def total')
    project(pinned)
    edited, _ = project(pinned.replace("sum(orders)", "len(orders)"))
    released, made = project(pinned.replace("sum(orders)", "len(orders)").replace('"1"', '"2"'))

    assert statuses(edited)["total"] == "reused"
    assert statuses(released)["total"] == "success"
    assert made.get("total") == 6


def test_forcing_computes_the_targets_alone(project):
    """``force`` computes the targets although nothing changed, and reuses what they need."""
    project(TWO)
    again, _ = project(TWO, ["total"], force=True)

    assert statuses(again) == {"orders": "reused", "total": "success"}


def test_lost_bytes_are_computed_again(project, tmp_path):
    """A value whose file is gone is not reused; its dependants are, because the bytes come out the same."""
    project(TWO)
    (stored,) = (tmp_path / "home" / "outputs" / "orders").rglob("*.json")
    stored.unlink()
    again, _ = project(TWO)

    assert statuses(again) == {"orders": "success", "total": "reused"}


def test_a_source_is_reused_while_its_fingerprint_stays(flow):
    """A changed fingerprint computes the source, and the record says which fingerprint it was and is."""
    outside = {"version": "monday"}

    @asset(source=True, version=lambda: outside["version"])
    def prices():
        return outside["version"]

    made = flow(Pipeline("p", [prices]))
    made.run()
    unchanged = made.run()
    outside["version"] = "tuesday"
    (expected,) = made.preview()
    changed = made.run()

    assert [step.message.partition(" unchanged")[0] for step in unchanged.reused] == ["source fingerprint monday"]
    assert [step.asset for step in changed.materialized] == ["prices"]
    assert "monday -> tuesday" in str(expected)
    assert made.explain("prices").output.source_version == "tuesday"


def test_a_source_without_a_version_is_computed_each_time(flow):
    """Nobody can tell whether the outside changed, so it is read again; equal bytes still outdate nothing."""

    @asset(source=True)
    def feed():
        return 1

    @asset
    def parsed(feed):
        return feed

    made = flow(Pipeline("p", [feed, parsed]))
    made.run()
    again = made.run()

    assert [step.asset for step in again.materialized] == ["feed"]
    assert [step.asset for step in again.reused] == ["parsed"]


def test_an_observed_source_has_versions_and_outdates_its_readers(flow):
    """A new version of an observed source is recorded once and its readers are computed with it."""
    outside = {"version": "r1"}
    rates = source("rates", version=lambda: outside["version"])

    @asset
    def converted(rates):
        return f"at {rates}"

    made = flow(Pipeline("p", [rates, converted]))
    made.run()
    same = made.run()
    outside["version"] = "r2"
    made.run()

    assert {step.asset for step in same.reused} == {"rates", "converted"}
    assert made.get("converted") == "at r2"
    assert [e.payload["version"] for e in made.events(names=["flowstone.asset.observed"])] == ["r1", "r2"]


def test_a_version_is_asked_with_the_partition_and_the_config(flow):
    """A version function that takes ``ctx`` and ``config`` gets the asset, the key and the declared values."""
    asked = []

    def version(ctx, config):
        asked.append((ctx.asset, ctx.partition, config["region"]))
        return "v"

    @asset(source=True, version=version, config={"region": "eu"})
    def feed():
        return 1

    flow(Pipeline("p", [feed]), config={"region": "us"}).run()

    assert asked == [("feed", None, "us")]


def test_changed_config_is_computed(flow, tmp_path):
    """A declared value that changed outdates the asset that declares it and no other."""

    @asset(config={"rate": 1})
    def priced(config):
        return config["rate"]

    @asset
    def plain():
        return 0

    pipeline = Pipeline("p", [priced, plain])
    flow(pipeline, home=tmp_path).run()
    made = flow(pipeline, home=tmp_path, config={"rate": 2})
    again = made.run()

    assert [step.asset for step in again.materialized] == ["priced"]
    assert made.get("priced") == 2


def test_invalidating_outdates_what_depends_on_it(flow):
    """A withdrawn value is missing, its dependants are outdated and say so; the next run makes it again."""

    @asset
    def one():
        return 1

    @asset
    def two(one):
        return one + 1

    made = flow(Pipeline("p", [one, two]))
    made.run()

    assert made.invalidate("one") is True
    assert made.invalidate("one") is False
    assert {c.asset: c.state for c in made.status()} == {"one": "missing", "two": "outdated"}
    again = made.run()
    assert ([s.asset for s in again.materialized], [s.asset for s in again.reused]) == (["one"], ["two"])


def test_an_optional_input_that_appears_is_a_changed_input(flow):
    """A value computed with a default is computed again once the optional input is there."""
    broken = {"extra": True}

    @asset(source=True)
    def extra():
        if broken["extra"]:
            raise ValueError("not yet")
        return 10

    @asset
    def total(extra=0):
        return extra + 1

    made = flow(Pipeline("p", [extra, total]))
    made.run()
    without = made.get("total")
    broken["extra"] = False
    made.run()

    assert (without, made.get("total")) == (1, 11)


def test_an_older_run_still_gives_its_own_value(flow):
    """Time travel: the value a run made or reused stays readable after newer ones."""
    value = {"now": 1}

    @asset(source=True)
    def feed():
        return value["now"]

    made = flow(Pipeline("p", [feed]))
    first = made.run()
    value["now"] = 2
    made.run()

    assert (made.get("feed"), made.get("feed", run_id=first.run_id)) == (2, 1)
