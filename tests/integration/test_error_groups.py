"""Groups of errors: what they count, how they open and close, who wins a decision, what is kept of them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from flowstone import Pipeline, Retry, asset
from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.testing import MovableClock, isolated_flow

SECRET = "hunter2-hunter2"
state = {"fails": True}


@asset(source=True)
def rates():
    if state["fails"]:
        raise ConnectionError(f"no answer; password={SECRET}")
    return 1


@asset(source=True, retries=Retry(attempts=3, delay=0))
def orders(ctx):
    if ctx.attempt < 3:
        raise TimeoutError(f"no answer within {ctx.attempt} s")
    return 2


SHOP = Pipeline("shop", [rates, orders])


@pytest.fixture
def clock():
    """A clock that stands still until it is moved."""
    state["fails"] = True
    return MovableClock()


@pytest.fixture
def shop(tmp_path, database_url, clock):
    """A FlowStone whose ``rates`` fail and whose ``orders`` succeed at the third attempt."""
    with isolated_flow(SHOP, home=tmp_path, database_url=database_url, clock=clock, actor="ann") as flow:
        yield flow


def groups(flow, status=None):
    """The groups by the type of their errors."""
    return {group.type: group for group in flow.error_groups(status=status)}


def told(flow):
    """What was said about groups, in order."""
    return [(e.name.rpartition(".")[2], e.payload["type"]) for e in flow.events(names=["flowstone.error_group.*"])]


def run(flow, clock, *targets):
    """Run again, a minute later."""
    clock.advance(60)
    return flow.run(list(targets), force=True).run_id


def test_a_group_counts_its_errors_and_their_cures(shop, clock):
    """First and last time and error, how many there were, how many a retry cured; the message is the newest one's."""
    began = clock.now_ns()
    runs = [run(shop, clock, "rates", "orders") for _ in range(3)]
    found, errors = groups(shop), {error.id: error for error in shop.errors()}
    cured = [e.payload.get("cured", 0) for e in shop.events(names=["flowstone.materialization.stop"])]

    assert {name: (group.status, group.errors, group.cured) for name, group in found.items()} == {
        "ConnectionError": ("open", 3, 0), "TimeoutError": ("open", 6, 6),
    }  # fmt: skip
    assert cured == [2, 2, 2]
    for group in found.values():
        assert began < group.first_at == errors[group.first_error].at < group.last_at == errors[group.last_error].at
        assert (errors[group.first_error].run_id, errors[group.last_error].run_id) == (runs[0], runs[2])
    assert found["TimeoutError"].message == errors[found["TimeoutError"].last_error].message
    assert {(error.cured, error.tries) for error in errors.values() if error.asset == "orders"} == {(3, 3)}
    assert sorted(told(shop)) == [("opened", "ConnectionError"), ("opened", "TimeoutError")]


def test_a_group_names_assets_partitions_and_versions_of_the_code(tmp_path, clock, database_url):
    """What the newest errors of a group have in common is asked of the errors, and every version of the code is named."""

    def pipeline(version):
        @asset(code_version=version)
        def one():
            raise ValueError("no")

        return Pipeline("p", [one])

    for version in ("1", "2", "2"):
        with isolated_flow(pipeline(version), home=tmp_path, database_url=database_url, clock=clock) as flow:
            clock.advance(1)
            flow.run()
            view = flow.error_group(flow.error_groups()[0].id)
            defined = flow.explain("one")

    assert [(member.asset, member.errors) for member in view.members] == [("one", 2), ("one", 1)]
    assert len({member.definition for member in view.members}) == 2
    assert view.newest[0].definition == view.members[0].definition
    assert (view.examined, len(view.newest)) == (3, 3)
    assert defined.errors[0].fingerprint == view.group.fingerprint


def test_a_regression_opens_its_group_by_itself(shop, clock):
    """A resolved group that has an error again is open, with the word that it came back; another error of it says nothing."""
    run(shop, clock, "rates")
    (group,) = shop.error_groups()
    clock.advance(60)
    resolved = shop.resolve_errors(group.id[:10], reason="the network is mended")
    open_then = shop.error_groups()
    run(shop, clock, "rates")
    run(shop, clock, "rates")
    (again,) = shop.error_groups()
    regressed = shop.events(names=["flowstone.error_group.regressed"])

    assert (resolved.status, resolved.decided_by, resolved.identity, resolved.reason) == (
        "resolved", "ann", "asserted", "the network is mended",
    )  # fmt: skip
    assert open_then == []
    assert (again.status, again.errors, again.decided_at) == ("open", 3, resolved.decided_at)
    assert [name for name, _ in told(shop)] == ["opened", "resolved", "regressed"]
    assert regressed[0].payload["resolved_at"] == resolved.decided_at
    assert regressed[0].payload["error"] == shop.errors()[1].id


def test_a_muted_group_stays_muted_and_counts_on(shop, clock):
    """Errors of a muted group are counted, and nothing is said; opened by hand, it has no decision any more."""
    run(shop, clock, "rates")
    (group,) = shop.error_groups()
    shop.mute_errors(group.id, reason="known")
    run(shop, clock, "rates")
    (muted,) = shop.error_groups(status="muted")
    opened = shop.reopen_errors(group.id, reason="look again")

    assert (muted.errors, muted.last_at > group.last_at) == (2, True)
    assert (opened.status, opened.decided_at, opened.decided_by) == ("open", None, "")
    assert [name for name, _ in told(shop)] == ["opened", "muted", "reopened"]


def test_a_decision_is_made_once(shop, clock):
    """A second decision of the same kind is told who made the first; nothing changes, and nothing more is said."""
    run(shop, clock, "rates")
    (group,) = shop.error_groups()
    with pytest.raises(UsageError, match=f"{group.id} is open already; nothing changed"):
        shop.reopen_errors(group.id, reason="why not")
    shop.resolve_errors(group.id, reason="mended")
    with pytest.raises(UsageError, match=r"is resolved already: ann decided that on .*, 'mended'; nothing changed"):
        shop.resolve_errors(group.id, reason="again")
    for reason in ("", " ", "x" * 1_001):
        with pytest.raises(UsageError, match="a reason of 1 to 1,000 characters"):
            shop.mute_errors(group.id, reason=reason)
    with pytest.raises(NotFoundError, match="there is no group of errors 'grp_nope'"):
        shop.mute_errors("grp_nope", reason="x")

    assert [name for name, _ in told(shop)] == ["opened", "resolved"]


def test_a_decision_that_comes_too_late_changes_nothing(shop, clock, monkeypatch):
    """When somebody else decides between the look and the decision, the later one is refused and told what is true now."""
    run(shop, clock, "rates")
    (group,) = shop.error_groups()
    transaction = shop._deployment.services().database.transaction

    def overtaken():
        monkeypatch.undo()
        shop.mute_errors(group.id, reason="faster")
        return transaction()

    monkeypatch.setattr(shop._deployment.services().database, "transaction", overtaken)
    with pytest.raises(UsageError, match=r"is muted already: ann decided that on .*, 'faster'"):
        shop.resolve_errors(group.id, reason="slower")

    assert groups(shop)["ConnectionError"].status == "muted"
    assert [name for name, _ in told(shop)] == ["opened", "muted"]


def test_groups_are_found_by_asset_and_status(shop, clock):
    """Groups come with the newest errors first; an asset, a status, a beginning of an id, a limit choose."""
    run(shop, clock, "rates")
    run(shop, clock, "orders")
    names = {group.type: group.id for group in shop.error_groups()}
    shop.mute_errors(names["TimeoutError"], reason="they are cured")

    assert [group.type for group in shop.error_groups(status=None)] == ["TimeoutError", "ConnectionError"]
    assert [group.type for group in shop.error_groups(status=None, limit=1)] == ["TimeoutError"]
    assert [group.type for group in shop.error_groups(status=None, asset="rates")] == ["ConnectionError"]
    assert [group.assets for group in shop.error_groups(status="muted")] == [["orders"]]
    assert shop.error_group(names["ConnectionError"].removeprefix("grp_")).group.type == "ConnectionError"
    with pytest.raises(UsageError, match="status 'closed' is not known"):
        shop.error_groups(status="closed")


def test_no_secret_is_in_a_group(shop, clock):
    """The message of a group, a reason, and what is said of both are redacted like every text."""
    run(shop, clock, "rates")
    (group,) = shop.error_groups()
    shop.resolve_errors(group.id, reason=f"changed password={SECRET}")
    kept = [shop.error_groups(status=None), shop.error_group(group.id), shop.errors(), shop.events(), shop.runs()]

    assert "password=[redacted]" in groups(shop)["ConnectionError"].message
    assert SECRET not in repr(kept)


def test_groups_are_part_of_a_backup(shop, clock, tmp_path):
    """A backup has the groups, their counts and decisions."""
    run(shop, clock, "rates", "orders")
    shop.mute_errors(shop.error_groups()[0].id, reason="known")
    shop.backup(tmp_path / "copy.db")

    with isolated_flow(home=tmp_path / "elsewhere", database_url=f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        assert copy.error_groups(status=None) == shop.error_groups(status=None)


MANY = """
    import sys
    from flowstone import FlowStone, Pipeline, asset
    from flowstone.testing import isolated_settings

    number, home, url, times = sys.argv[1:]

    def refuse_a_value():
        raise ValueError("one")

    def refuse_a_key():
        raise KeyError("two")

    @asset(name="a" + number, source=True)
    def first():
        refuse_a_value()

    @asset(name="b" + number, source=True)
    def second():
        refuse_a_key()

    assets = [first, second] if int(number) % 2 else [second, first]
    with FlowStone(Pipeline("p" + number, assets), settings=isolated_settings(home, database_url=url)) as flow:
        sys.stdin.readline()
        for _ in range(int(times)):
            flow.run(executor="thread", jobs=2)
"""


def test_eight_processes_count_exactly(tmp_path, database_url):
    """However many processes fail at once, each group is opened once and counts each of their errors."""
    script, times = tmp_path / "many.py", 3
    script.write_text(textwrap.dedent(MANY))
    (tmp_path / "kept").mkdir()
    arguments = [str(tmp_path / "kept"), database_url, str(times)]
    with isolated_flow(home=tmp_path / "kept", database_url=database_url) as flow:
        flow._deployment.services()  # the tables
        started = [
            subprocess.Popen([sys.executable, str(script), str(n), *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for n in range(8)
        ]
        for process in started:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=120)[1].decode() for process in started]

        assert [process.returncode for process in started] == [0] * 8, said
        found = {group.type: group.errors for group in flow.error_groups()}
        assert found == {"ValueError": 8 * times, "KeyError": 8 * times}
        assert len(flow.errors(limit=1_000)) == 2 * 8 * times
        assert sorted(told(flow)) == [("opened", "KeyError"), ("opened", "ValueError")]
        assert [finding for finding in flow.doctor(thorough=True) if finding.level == "fail"] == []
