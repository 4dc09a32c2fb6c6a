"""What each verb that reads says, to people and to programs."""

from __future__ import annotations

import re

import pytest

ID = r"(?:run|err|out)_[0-9a-z_]+"


def plain(text):
    """The text with ids, digests and durations replaced, so that it can be compared."""
    text = re.sub(ID, "ID", text)
    return re.sub(r"\b\d+(?:\.\d)? m?s\b", "TIME", text)


def test_status_names_state_and_reason(cli, shop):
    """``status`` has a row for each asset's newest partition with its state and why, and names the next command."""
    said = cli("status")

    assert said.code == 0
    assert re.search(r"^  orders +up to date  3 orders$", said.out, re.MULTILINE)
    assert re.search(r"^  broken +missing     the last run ended failed: no\\nsuch thing$", said.out, re.MULTILINE)
    assert re.search(r"  daily    \d{4}-\d\d-\d\d  up to date  1 earlier partition\n", said.out)
    assert "6 up to date, 3 missing." in said.out
    assert "Why: flowstone explain broken\n" in said.out


def test_status_of_a_named_asset_has_every_partition(cli, shop):
    """Naming an asset shows all its partitions, as ``--all`` does for every one; without, it is the newest; one may be chosen."""
    assert len(cli("status", "daily", "--json").rows) == 2
    assert sum(row["asset"] == "daily" for row in cli("status", "--all", "--json").rows) == 2
    assert [row["others"] for row in cli("status", "--json").rows if row["asset"] == "daily"] == [1]
    assert [row["partition"] for row in cli("status", "daily", "--partition", "2020-02-03", "--json").rows] == ["2020-02-03"]


def test_status_as_json_has_stable_keys(cli, shop):
    """Each object of ``status --json`` has the same keys; the partition is there as people and as programs write it."""
    rows = cli("status", "--all", "--json").rows

    assert {tuple(row) for row in rows} == {
        ("asset", "partition", "partition_key", "state", "because", "output", "last", "others", "approval")
    }
    day = next(row for row in rows if row["asset"] == "daily" and row["partition"] == "2020-02-03")
    assert (day["partition_key"], day["state"], day["output"]["version"]) == ("d:2020-02-03", "up to date", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", day["output"]["created_at"])
    assert next(row for row in rows if row["asset"] == "orders")["partition"] is None


def test_runs_are_listed_newest_first(cli, shop):
    """``runs`` says of each run how it ended, how its steps ended and who asked; ``--status`` and ``--limit`` choose."""
    lines = cli("runs").out.splitlines()

    assert lines[0].split()[:2] == [shop.runs[1], "success"]
    assert lines[1].split()[:2] == [shop.runs[0], "partial"]
    assert "6 done, 1 failed, 2 skipped" in lines[1]
    assert "(OS user)" in lines[1]
    assert [run["id"] for run in cli("runs", "--json", "--status", "partial").rows] == [shop.runs[0]]
    assert [run["id"] for run in cli("runs", "--json", "--limit", "1").rows] == [shop.runs[1]]
    assert cli("runs", "--status", "failed").out == "No runs with status failed. Next: flowstone runs\n"


def test_show_a_run(cli, shop):
    """``show run_…`` lists every step with how it ended, the evidence in numbers, and commands that go on from there."""
    said = plain(cli("show", shop.runs[0]).out)

    assert "ID  partial  pipeline shop" in said
    assert "asked for    every asset" in said
    assert "  total " in said
    assert re.search(r"\n  broken +failed +ValueError: no\\nsuch thing  \(ID\)   TIME\n", said)
    assert re.search(r"\n  behind +skipped +upstream broken failed\n", said)
    assert re.search(r"\n  total +done +9 bytes   TIME   attempt 2\n", said)
    assert re.search(r"\n  rates +done +version r1\n", said)
    assert "9 materializations, 8 attempts" in said
    assert "Next: flowstone errors --run ID    flowstone logs ID    flowstone events --run ID" in said


def test_show_takes_the_beginning_of_an_id(cli, shop):
    """The beginning of a run's id is enough; as JSON the run comes with all its rows."""
    view = cli("show", shop.runs[0][:9], "--json").json

    assert view["run"]["id"] == shop.runs[0]
    assert len(view["steps"]) == len(view["materializations"]) == 9
    assert {attempt["number"] for attempt in view["attempts"]} == {1, 2}
    assert view["events"] == len(cli("events", "--run", shop.runs[0], "--limit", "1000", "--json").rows)


def test_show_an_error(cli, shop):
    """``show err_…`` has the traceback, one escaped line per line, and where and whether it was cured."""
    error = next(row for row in cli("errors", "--each", "--json").rows if row["asset"] == "total")
    said = cli("show", error["id"]).out

    assert f"{error['id']}  TimeoutError: slow\n" in said
    assert f"total, attempt 1 of {shop.runs[0]}" in said
    assert "now          cured by attempt 2 of 3\n" in said
    assert cli("errors", "show", error["id"][:12]).out == said
    assert 'raise TimeoutError("slow")\n' in said
    assert cli("show", error["id"], "--json").json["cured"] == 2


def test_show_an_output(cli, shop):
    """``show out_…`` has the whole digest, where it is stored, what it was made from, and whether it is current."""
    made = next(row for row in cli("status", "total", "--json").rows)["output"]
    said = cli("show", made["id"]).out

    assert f"{made['id']}  total version 1, the current version\n" in said
    assert f"sha256 {made['digest']}\n" in said
    assert re.search(r"inputs       orders v1  sha256 [0-9a-f]{8}\.\.  out_", said)
    assert f"flowstone get total --run {shop.runs[0]}" in said
    shown = cli("show", made["id"], "--json").json
    assert shown["current"] is True
    assert [item["parameter"] for item in shown["inputs"]] == ["orders"]


def test_errors_say_whether_they_were_cured(cli, shop):
    """``errors --each`` has one row for each failed attempt; an asset or a run can be named."""
    said = plain(cli("errors", "--each").out)

    assert "  ID  broken  attempt 1  not cured                ValueError: no\\nsuch thing\n" in said
    assert "  ID  total   attempt 1  cured by attempt 2 of 3  TimeoutError: slow\n" in said
    assert [row["asset"] for row in cli("errors", "--each", "--asset", "total", "--json").rows] == ["total"]
    assert cli("errors", "--run", shop.runs[1]).out == "No errors are recorded.\n"


def test_logs_are_escaped_redacted_and_chosen(cli, shop):
    """``logs`` prints one line per line, without secrets or control characters; asset, level and pattern choose."""
    said = cli("logs", shop.runs[0]).out

    assert re.search(r"^\d\d:\d\d:\d\d warning orders#1 careful \\x1b\[31m password=\[redacted\]$", said, re.MULTILINE)
    assert "info    orders#1 three of them\n" in said
    assert "info    orders#1 stdout: printed\n" in said
    assert [row["level"] for row in cli("logs", shop.runs[0], "--level", "warning", "--json").rows] == ["warning"]
    assert [row["msg"] for row in cli("logs", shop.runs[0], "--grep", "^pr.nted$", "--json").rows] == ["printed"]
    assert cli("logs", shop.runs[0], "--asset", "total").out == f"{shop.runs[0]} kept no such lines.\n"


def test_events_are_read_by_cursor(cli, shop):
    """Reading page after page from the printed cursor gives every event once and in order."""
    everything = cli("events", "--json", "--limit", "100000").rows
    pages, after = [], ""
    while page := cli("events", "--json", "--limit", "7", *(("--after", after) if after else ())).rows:
        pages += page
        after = page[-1]["cursor"]

    assert pages == everything
    assert {"id", "at", "name", "run_id", "payload", "cursor"} == set(everything[0])
    assert cli("events", "--limit", "7").out.endswith(f"flowstone events --after {everything[6]['cursor']} --limit 7\n")


def test_events_can_be_chosen(cli, shop):
    """Name patterns and an asset choose events; the command for more repeats the choice."""
    chosen = cli("events", "--name", "flowstone.io.*", "--asset", "total", "--json").rows

    assert {row["name"] for row in chosen} == {
        "flowstone.io.load.start", "flowstone.io.load.stop", "flowstone.io.store.start", "flowstone.io.store.stop",
    }  # fmt: skip
    said = cli("events", "--name", "flowstone.io.*", "--asset", "total", "--limit", "1").out
    assert said.endswith("--limit 1 --asset total --name 'flowstone.io.*'\n")
    assert cli("events", "--asset", "nobody").out == "No events.\n"


def test_lineage_is_a_tree_of_exact_versions(cli, shop):
    """``lineage`` names each version with its digest under what was made from it; ``--downstream`` turns it round."""
    lines = [re.sub(r"  sha256 .*", "", line) for line in cli("lineage", "note").out.splitlines()]

    assert lines[:3] == ["note v1", "  <- total v1", "     <- orders v1"]
    down = [re.sub(r"  sha256 .*", "", line) for line in cli("lineage", "orders", "--downstream").out.splitlines()]
    assert down[:3] == ["orders v1", "  -> total v1", "     -> note v1"]
    assert "  -> daily 2020-02-03 v1" in down
    assert "  it was made from nothing else\n" in cli("lineage", "orders").out


def test_lineage_as_json_is_a_graph(cli, shop):
    """``lineage --json`` has the outputs and the edges between them."""
    graph = cli("lineage", "note", "--json").json
    names = {output["id"]: output["asset"] for output in graph["outputs"]}

    assert names[graph["start"]] == "note"
    assert {(names[edge["downstream"]], names[edge["upstream"]]) for edge in graph["edges"]} == {
        ("note", "total"),
        ("total", "orders"),
    }


def test_assets_are_those_of_the_code_now(cli, shop):
    """``assets`` lists the pipeline in order of declaration; one asset is described with neighbours and condition."""
    assert [row["name"] for row in cli("assets", "--json").rows][:3] == ["orders", "total", "broken"]
    assert re.search(r"^  daily +asset +daily$", cli("assets").out, re.MULTILINE)
    said = cli("assets", "orders").out
    assert "about        What was ordered.\n" in said
    assert "needed by    total, daily\n" in said
    assert "owners       sales\n" in said
    assert "now          up to date\n" in said
    info = cli("assets", "daily", "--json").json
    assert {"partition": "2020-02-03", "partition_key": "d:2020-02-03", "state": "up to date", "because": []} in info[
        "conditions"
    ]


def test_graph_has_three_forms_and_json(cli, shop):
    """``graph`` draws text, Mermaid and dot; as JSON it has the order and the edges."""
    assert re.search(r"^note +<- total, broken$", cli("graph").out, re.MULTILINE)
    assert cli("graph", "--format", "mermaid").out.startswith("flowchart LR\n")
    assert cli("graph", "--format", "dot").out.startswith("digraph {\n")
    assert {"from": "broken", "to": "note", "parameter": "broken", "optional": True} in cli("graph", "--json").json["edges"]


def test_doctor_finds_nothing(cli, shop):
    """On a project that is in order ``doctor`` exits 0 and still says what it did not check."""
    said = cli("doctor")

    assert said.code == 0
    assert {row["level"] for row in cli("doctor", "--json").rows} == {"ok", "not checked"}
    assert "ok           every start has its ending" in said.out


def test_config_show_names_sources_and_hides_secrets(cli, own, monkeypatch):
    """``config show`` prints each value with its source; secrets are masked, references to secrets are not."""
    own.folder.joinpath("flowstone.toml").write_text(
        'project = "shop"\n[config]\napi_token = "hunter2-hunter2"\nkey = "secret:KEY"\n'
    )
    monkeypatch.setenv("FLOWSTONE_LOGS_LEVEL", "error")
    rows = {row["key"]: (row["value"], row["source"]) for row in cli("config", "show", "--json", "--project", "other").rows}

    assert rows["project"] == ("other", "argument")
    assert rows["logs.level"] == ("error", "environment variable")
    assert rows["config.api_token"] == ("[redacted]", "flowstone.toml")
    assert rows["config.key"] == ("secret:KEY", "flowstone.toml")
    assert rows["outputs.manager"] == ("files", "default")
    assert "hunter2" not in cli("config", "show").out


def test_db_info_counts_rows(cli, shop):
    """``db info`` names the database, its schema and the rows of each table."""
    info = cli("db", "info", "--json").json

    assert info["schema"] == info["needed_schema"]
    assert info["rows"]["run"] == 2
    assert info["size"] > 0
    assert re.search(r"^schema +\d{4}, current$", cli("db", "info").out, re.MULTILINE)
    assert cli("db", "upgrade").out == f"The schema is {info['schema']}; nothing to do.\n"


def test_db_info_of_something_else(cli, tmp_path, monkeypatch):
    """A file that is no database is said to be none, by ``db info`` and by ``db upgrade``."""
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("notes.txt").write_text("not a database at all, but long enough to have a header" * 10)
    monkeypatch.setenv("FLOWSTONE_DATABASE_URL", "sqlite:///notes.txt")
    for verb in ("info", "upgrade"):
        said = cli("db", verb)

        assert said.code == 2
        assert "notes.txt: file is not a database" in said.err


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["runs"], ["show", "RUN"], ["errors"], ["lineage", "note"], ["explain", "note"], ["assets"], ["config", "show"]],
    ids=lambda arguments: arguments[0],
)
def test_lines_fit_a_terminal(cli, shop, arguments):
    """What people read fits into 130 columns even with long ids, and holds no control characters."""
    said = cli(*(shop.runs[0] if argument == "RUN" else argument for argument in arguments)).out

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    assert [line for line in said.splitlines() if len(line) > 130 and str(shop.folder) not in line] == []
