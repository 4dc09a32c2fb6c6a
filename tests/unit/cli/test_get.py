"""``get``: values for people, for programs, and as they are stored."""

from __future__ import annotations

import json

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowstone import FlowStone, Pipeline, asset
from flowstone.cli.grammar import Given
from flowstone.cli.session import find


def test_data_is_printed_as_json(cli, shop):
    """Data is indented JSON for people and one line with ``--json``."""
    assert cli("get", "total").out == '{\n  "sum": 6\n}\n'
    assert cli("get", "total", "--json").out == '{"sum":6}\n'


def test_text_is_printed_as_it_is(cli, shop):
    """A text keeps its lines; with ``--json`` it is one JSON text."""
    assert cli("get", "note").out == "one\ntwo\n"
    assert cli("get", "note", "--json").json == "one\ntwo"


def test_an_observed_source_is_its_version(cli, shop):
    """The value of an observed source is its version; it has no bytes to save."""
    assert cli("get", "rates").out == "r1\n"
    said = cli("get", "rates", "-o", "rates.bin")
    assert (said.code, "observed only" in said.err) == (2, True)


def test_a_partition_can_be_chosen(cli, shop):
    """Without ``--partition`` the newest value is meant."""
    assert cli("get", "daily", "--partition", "2020-02-03").json == {"day": "2020-02-03"}
    assert cli("get", "daily").json["day"] > "2020-02-04"


def test_the_value_of_a_run(cli, own):
    """``--run`` reads what that run made, also after a newer value has replaced it or it was withdrawn."""
    cli("invalidate", "total")

    assert cli("get", "total").code == 2
    assert cli("get", "total", "--run", own.runs[0]).json == {"sum": 6}


def test_stored_bytes_are_saved_unchanged(cli, shop, tmp_path):
    """``-o FILE`` writes exactly the stored bytes, which have the recorded size; bytes cannot be JSON."""
    said = cli("get", "total", "-o", str(tmp_path / "total.json"))

    assert said.out == ""
    assert json.loads((tmp_path / "total.json").read_bytes()) == {"sum": 6}
    assert "bytes, which JSON cannot hold" in cli("get", "blob", "--json").err
    assert cli("get", "total", "-o", "x", "--json").code == 2
    missing = cli("get", "total", "-o", str(tmp_path / "no" / "such"))
    assert (missing.code, "No such file or directory" in missing.err) == (2, True)


@asset
def polars_rows():
    return pl.DataFrame({"n": range(50), "text": ["a" * 60] * 50})


@asset
def pandas_rows():
    return pd.DataFrame({"n": range(50), "text": ["a" * 60] * 50})


@asset
def arrow_rows():
    return pa.table({"n": list(range(50)), "text": ["a" * 60] * 50})


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """A project with one table of each library."""
    monkeypatch.chdir(tmp_path)
    with FlowStone(Pipeline("frames", [polars_rows, pandas_rows, arrow_rows]), settings=find(Given()).settings) as flow:
        flow.run().raise_if_failed()


@pytest.mark.parametrize("name", ["polars_rows", "pandas_rows", "arrow_rows"])
def test_tables_are_shown_and_streamed(cli, frames, name):
    """People get the first rows with long cells cut and how many there are; programs get every row whole."""
    said = cli("get", name).out.splitlines()

    assert said[0].split() == ["n", "text"]
    assert said[20].split() == ["19", "a" * 28 + ".."]
    assert "50 rows, 2 columns; the first 20 rows and 2 columns are shown." in said
    assert f"flowstone get {name} --json" in said[-1]
    assert cli("get", name, "--json").rows == [{"n": n, "text": "a" * 60} for n in range(50)]
