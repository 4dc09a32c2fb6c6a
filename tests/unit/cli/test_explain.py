"""``explain``: the first line is the answer, the last one the next command."""

from __future__ import annotations

import re


def test_up_to_date(cli, shop):
    """A current value is explained by its run, attempt, code, inputs and evidence, with the retry that cured it."""
    said = cli("explain", "total").out

    assert said.startswith("total is current and up to date\n")
    assert re.search(r"\n  value +sha256 [0-9a-f]{8}\.\.  9 bytes  json   out_\w+, version 1 of 1\n", said)
    assert re.search(rf"\n  computed +{shop.runs[0]} attempt 2, .* UTC, .*, pid \d+ on ", said)
    assert re.search(r"\n  inputs +orders v1  sha256 [0-9a-f]{8}\.\.  out_\w+\n", said)
    assert re.search(r"\n  evidence +2 attempts, 1 error cured by attempt 2 of 3 \(err_\w+\), \d+ events\n", said)
    assert "The first version: there is nothing to compare it with.\n" in said
    assert said.splitlines()[-1].startswith("Next: flowstone get total ")


def test_inputs_show_what_is_behind_them(cli, shop):
    """Each direct input is named with its version, and after an arrow with what it was made from."""
    assert re.search(r"\n  inputs +total v1  sha256 .*   <- orders\n", cli("explain", "note").out)


def test_failed(cli, shop):
    """A missing value is explained by the error of the last run."""
    said = cli("explain", "broken").out

    assert re.match(
        rf"broken has no value: {shop.runs[0]} failed: ValueError: no\\nsuch thing, not cured \(err_\w+\), 1 attempt\n", said
    )
    assert re.search(r"\nNext: flowstone show err_\w+    then flowstone run broken\n", said)


def test_failed_upstream(cli, shop):
    """A value that is missing because of an upstream names the upstream's error."""
    said = cli("explain", "behind").out

    assert re.match(rf"behind has no value: {shop.runs[0]} failed in upstream broken: ValueError: .*\(err_\w+\)\n", said)


def test_skipped(cli, shop):
    """A value that was skipped has the reason its code gave."""
    assert cli("explain", "skipper").out.startswith(f"skipper has no value: {shop.runs[0]} skipped it: nothing to do\n")


def test_observed(cli, shop):
    """An observed source has its version and no attempt."""
    said = cli("explain", "rates").out

    assert re.search(r"\n  value +r1  \(observed, never computed here\)", said)
    assert f"observed     {shop.runs[0]}, " in said


def test_invalidated_and_outdated(cli, own):
    """After ``invalidate`` the asset says who withdrew it, and what was made from it says that it is outdated and why."""
    withdrawn = cli("invalidate", "orders", "--as", "ann").out

    assert re.match(r"Withdrawn: orders version 1 \(out_\w+\)\. Its bytes stay: flowstone show out_\w+\n", withdrawn)
    assert "Outdated by it: 4 values: total" in withdrawn
    assert re.match(r"orders has no value: out_\w+ was invalidated by ann \(asserted\), ", cli("explain", "orders").out)
    said = cli("explain", "total").out
    assert said.startswith("total is current but outdated: upstream orders was invalidated\n")
    assert said.endswith("Next: flowstone run total\n")
    states = {row["asset"]: row["state"] for row in cli("status", "--json").rows}
    assert (states["orders"], states["total"], states["note"], states["blob"]) == (
        "missing",
        "outdated",
        "outdated",
        "up to date",
    )
    assert cli("invalidate", "orders").code == 2


def test_compared_with_the_version_before(cli, own, materialize):
    """A second version is compared with the first: what changed, and what is the same."""
    own.folder.joinpath("orders.txt").write_text("v2")
    text = own.folder.joinpath("pipeline.py").read_text()
    own.folder.joinpath("pipeline.py").write_text(text.replace("[1, 2, 3]", "[1, 2, 4]"))
    (run,) = materialize(own.folder, {"targets": "total"})
    said = cli("explain", "total").out

    assert f"\nCompared with version 1 ({own.runs[0]}, " in said
    assert re.search(r"\n  value +sha256 [0-9a-f]{8}\.\. -> [0-9a-f]{8}\.\.\n", said)
    assert re.search(r"\n  inputs +orders changed: sha256 [0-9a-f]{8}\.\. -> [0-9a-f]{8}\.\.\n", said)
    assert re.search(r"\n  the same +code, config, environment\n", said)
    assert re.search(r"\n  because +input orders changed", said)
    assert f"{run} attempt " in said


def test_gone(cli, own):
    """A value whose stored bytes were removed is said to be gone, by ``explain`` and by ``doctor``, which then exits 1."""
    output = cli("status", "total", "--json").json["output"]["id"]
    location = cli("show", output, "--json").json["output"]["location"]
    (own.folder / ".flowstone" / "outputs" / location).unlink()

    assert cli("explain", "total").out.startswith("total is recorded, but its stored bytes are gone\n")
    said = cli("doctor")
    assert said.code == 1
    assert re.search(r"^fail +stored bytes .*\n +fix: flowstone run total$", said.out, re.MULTILINE)


def test_a_partition_without_a_value(cli, own, materialize):
    """A partition that only failed is explained when it is named, and mentioned when it is newer than the explained one."""
    own.folder.joinpath("down").touch()
    materialize(own.folder, {"targets": "daily", "partition": "2020-02-04"})
    said = cli("explain", "daily", "--partition", "2020-02-04").out

    assert re.match(
        r"daily 2020-02-04 has no value: run_\w+ failed: RuntimeError: down, not cured \(err_\w+\), 1 attempt\.", said
    )
    assert said.endswith("flowstone run daily --partition 2020-02-04\n")
    cli("invalidate", "daily")
    newest = cli("explain", "daily").out
    assert newest.startswith("daily 2020-02-03 is current and up to date\n")
    assert re.search(r"\nNewer: daily \d{4}-\d\d-\d\d is missing: flowstone explain daily --partition \d{4}-\d\d-\d\d\n", newest)


def test_as_json(cli, shop):
    """``explain --json`` has the same facts under stable keys, and the same keys when there is no value."""
    found, missing = cli("explain", "total", "--json").json, cli("explain", "broken", "--json").json

    assert list(found) == list(missing)
    assert (found["state"], found["versions"], found["inputs"][0]["parameter"]) == ("up to date", 1, "orders")
    assert [attempt["number"] for attempt in found["attempts"]] == [1, 2]
    assert (missing["state"], missing["output"], missing["errors"][0]["type"]) == ("missing", None, "ValueError")
