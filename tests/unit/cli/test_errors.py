"""``flowstone errors``: groups, one of them, decisions; and what is said of a run whose process died."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

FALLS = """
import os
from flowstone import Pipeline, asset


@asset
def one():
    return 1


@asset
def falls(one):
    os._exit(9)


pipeline = Pipeline("falls", [one, falls])
"""


def group_of(cli, asset):
    """The id of the group of an asset's errors."""
    return next(row["id"] for row in cli("errors", "--all", "--json").rows if row["assets"] == [asset])


def test_the_list_has_a_group_of_two_lines_each(cli, shop):
    """``errors`` says of each open group what fails, where, how often, whether a retry cured it, and when it was seen."""
    said = cli("errors")
    broken, total = group_of(cli, "broken"), group_of(cli, "total")

    assert f"{broken}  ValueError: no\n    open   broken   1 time, not cured   last just now\n" in said.out
    assert f"{total}  TimeoutError: slow\n    open   total   1 time, cured by a retry   last just now\n" in said.out
    assert re.search(r"\nOne of them, with its newest traceback: flowstone errors show grp_[0-9a-f]{16}\n$", said.out)
    assert cli("errors", "list").out == said.out
    assert [row["asset"] for row in cli("errors", "--asset", "total", "--json").rows] == ["total"]
    assert cli("errors", "--asset", "note").out.startswith("No errors of note are open. Those that are resolved or muted:")
    assert cli("errors", "--asset", "note", "--all").out == "No errors of note are recorded.\n"


def test_a_group_is_shown_with_its_newest_traceback(cli, shop):
    """``errors show grp_…`` has its counts, times, assets, definitions, newest errors and traceback, and what can be decided."""
    group = group_of(cli, "total")
    said = cli("errors", "show", group[:9])
    (error,) = cli("errors", "--each", "--asset", "total", "--json").rows

    assert said.out.startswith(f"{group}  TimeoutError: slow\n  now          open\n  seen         1 time, cured by a retry\n")
    assert re.search(r"\n  first        \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, just now  " + error["id"], said.out)
    assert "\n  assets       total 1\n  definitions  " in said.out
    assert 'raise TimeoutError("slow")\n' in said.out
    assert f"\n  {error['id']}  total  attempt 1  cured by attempt 2 of 3  {shop.runs[0]}  " in said.out
    assert f"It is mended: flowstone errors resolve {group} -m 'why'\n" in said.out
    assert cli("show", group).out == said.out
    shown = cli("errors", "show", group, "--json").json
    assert (shown["group"]["id"], shown["examined"], shown["members"][0]["asset"]) == (group, 1, "total")
    assert shown["newest"][0]["id"] == error["id"]


def test_a_group_is_decided_about(cli, own):
    """``resolve``, ``mute`` and ``reopen`` need a reason and say what is so now; a late one is refused with exit code 2."""
    group = group_of(cli, "broken")

    assert cli("errors", "resolve", group).err.startswith("error: Missing option '-m' / '--reason'.")
    assert cli("errors", "resolve", group[:10], "-m", "mended", "--as", "ann").out == (
        f"Resolved: {group}  ValueError: no\\nsuch thing\nWhen such an error comes again, the group opens by itself.\n"
    )
    late = cli("errors", "resolve", group, "-m", "mended too")
    assert (late.code, late.out) == (2, "")
    assert re.match(rf"error: {group} is resolved already: ann decided that on [\d-]+ [\d:]+ UTC, 'mended'; nothing", late.err)
    assert group not in cli("errors").out

    cli("run", "broken")
    said = cli("errors", "show", group).out
    assert re.search(r"\n  now          open again; it came back after it was resolved, by ann \(asserted\) .*: mended\n", said)
    assert cli("errors", "mute", group, "-m", "known").out.startswith(f"Muted: {group}  ValueError")
    cli("run", "broken")
    assert cli("errors", "--all").out.count(f"{group}  ValueError: no\n    muted   broken   3 times, not cured") == 1
    assert cli("errors", "reopen", group, "-m", "again").out == f"Open again: {group}  ValueError: no\\nsuch thing\n"


@pytest.mark.parametrize(
    "arguments", [("errors", "show", "grp_zz"), ("errors", "show", "nothing"), ("errors", "mute", "x", "-m", "y")]
)
def test_a_group_that_is_not_there(cli, shop, arguments):
    """What is no group is named, with the verb that lists them."""
    said = cli(*arguments)

    assert said.code == 2
    assert said.err.startswith("error: there is no group of errors")
    assert "flowstone errors --all lists them" in said.err


def test_a_run_that_could_not_be_planned(cli, own):
    """A mapping that raises: exit code 2, what it raised and the command that shows it; ``runs`` and ``show`` say so too."""
    text = (own.folder / "pipeline.py").read_text()
    mapping = (
        "class Unknown:\n    needs_existing = False\n    def upstream(self, key, existing):\n        raise KeyError('region')\n"
        "    def describe(self):\n        return 'unknown()'\n\n"
        "@asset(partitions=daily.partitions, mapping={'daily': Unknown()})\ndef change(daily):\n    return 1\n\n"
    )
    (own.folder / "pipeline.py").write_text(
        text.replace("pipeline = Pipeline", mapping + "pipeline = Pipeline").replace("daily])", "daily, change])")
    )
    said = cli("run", "change", "--partition", "2020-02-03")
    run = cli("runs", "--json", "--limit", "1").json
    error = re.search(r"flowstone show (err_\w+)\n", said.err)[1]

    assert said.code == 2
    assert said.err.startswith("error: change 2020-02-03 could not be planned: KeyError: 'region'\n  a mapping or partitions")
    assert re.search(rf"  {run['id']}  failed .*  could not be planned  ", cli("runs", "--limit", "1").out)
    assert re.search(
        rf"\n  failed       plan_failed: change 2020-02-03 could not be planned.*\({error}\)\n", cli("show", run["id"]).out
    )
    assert "where        change 2020-02-03, before any attempt of " in cli("errors", "show", error).out


def test_a_run_of_a_dead_process_is_lost(cli, tmp_path, monkeypatch):
    """Nobody could tell the store that the process died: ``runs`` and ``show`` say it, change nothing, and name the way on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.py").write_text(FALLS)
    died = subprocess.run([sys.executable, "-m", "flowstone", "run"], cwd=tmp_path, capture_output=True, check=False)
    before = cli("events", "--json").rows
    (run,) = cli("runs", "--json").rows
    listed, shown = cli("runs").out, cli("show", run["id"])

    assert died.returncode == 9
    assert (run["status"], run["lost"]) == ("running", True)
    assert re.search(rf"^  {run['id']}  lost +.* +its process died +", listed)
    assert shown.out.startswith(f"{run['id']}  lost  pipeline falls  ")
    assert shown.out.endswith(f"Go on with it: flowstone run --resume {run['id']}\n")
    assert re.search(r"\n  falls  lost *\n", shown.out)
    said = f"falls has no value: {run['id']} has not finished it: its process died; flowstone run --resume {run['id']}\n"
    assert cli("explain", "falls").out.startswith(said)
    assert cli("show", run["id"], "--json").json["run"]["lost"] is True
    assert cli("events", "--json").rows == before
