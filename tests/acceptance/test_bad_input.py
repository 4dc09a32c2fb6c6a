"""What a person can get wrong: one clear error that names the thing, the value and the fix, exit code 2, nothing half done."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from flowstone import FlowStone, Keys, Pipeline, ValidationError, asset
from flowstone.cli.main import execute
from flowstone.foundation.errors import PartitionError
from flowstone.testing import isolated_flow

FLOWSTONE = [sys.executable, "-m", "flowstone"]
DEADLINE = 60  # seconds; a process that hangs fails its test

SHOP = """
from flowstone import Keys, Pipeline, asset

@asset
def orders():
    return [1, 2]

@asset(partitions=Keys(int))
def daily(orders):
    return 1

pipeline = Pipeline("shop", [orders, daily])
"""


class Said(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


def flowstone(folder: Path, *arguments: str) -> Said:
    """Run one command line in *folder*."""
    ran = subprocess.run(
        [*FLOWSTONE, *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=DEADLINE, check=False
    )
    return Said(ran.returncode, ran.stdout, ran.stderr)


def refused(said: Said, *words: str) -> None:
    """Assert that the command was refused with one clear error that has every one of *words*, and nothing else was said."""
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    assert len(said.err) < 4_000
    assert [word for word in words if word not in said.err] == []


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below *folder* and its bytes, byte code left out."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A function that runs one command line in this process, in ``tmp_path``: all of it but the start of an interpreter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "pipeline", raising=False)
    root = logging.getLogger()
    level = root.level

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = execute(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    yield run
    root.setLevel(level)
    sys.modules.pop("pipeline", None)


@pytest.fixture
def shop(tmp_path):
    """A folder with a small pipeline that has not been run."""
    (tmp_path / "pipeline.py").write_text(SHOP)
    return tmp_path


# -- things that are not there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "-p", "nope.py"), ("there is no file", "nope.py", "-p FILE_OR_MODULE[:NAME]")),
        (("run", "-p", "./"), ("is a folder", "-p FILE_OR_MODULE[:NAME]")),
        (("run", "-p", "acme.nope"), ("there is no module 'acme.nope'", "-p FILE_OR_MODULE[:NAME]")),
        (("run", "-p", "pipeline.py:pipelin"), ("has no 'pipelin'", "did you mean 'pipeline'?")),
        (("run", "-p", "pipeline.py:orders"), ("'orders'", "is no Pipeline but Asset")),
        (("run", "ordrs"), ("pipeline 'shop' has no asset 'ordrs'", "did you mean 'orders'?")),
        (("run", "orders", "--partition", "7"), ("partition '7'", "orders", "leave it out")),
        (("run", "daily", "--partition", "seven"), ("'seven' is no int", "write it like 7")),
        (("run", "daily", "--partition", "x" * 10_240), ("is no int", "xxx...")),
        (("run", "daily"), ("no latest", "--partition")),
        (("run", "--resume", "run_0"), ("there is no", "flowstone run")),
        (("run", "--jobs", "none"), ("--jobs", "--help")),
        (("rnu",), ("there is no verb 'rnu'", "did you mean 'run'?")),
        (("get", "orders"), ("there is no database yet", "flowstone run creates it")),
        (("show", "orders"), ("'orders' is no id", "run_, err_, grp_ or out_")),
        (("invalidate", "orders"), ("there is no database yet", "flowstone run creates it")),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_what_is_not_there_is_named_and_nothing_is_made(shop, command, arguments, words):
    """A missing file, module, name, asset, partition or run is one error with its name and the fix; no folder is made for it."""
    before = files_in(shop)

    refused(command(*arguments), *words)
    assert files_in(shop) == before
    assert not (shop / ".flowstone").exists()


def test_a_refused_request_leaves_the_records_as_they_were(shop, command):
    """After a run, requests that are refused add no run, no event and no file."""
    assert command("run", "orders").code == 0
    with FlowStone(home=shop / ".flowstone", project=shop.name) as flow:
        before = (flow.runs(), flow.events(), files_in(shop / ".flowstone/outputs"))
        refused(command("run", "ordrs"), "ordrs")
        refused(command("run", "orders", "daily", "--partition", "seven"), "seven")

        assert (flow.runs(), flow.events(), files_in(shop / ".flowstone/outputs")) == before
        assert [finding for finding in flow.doctor() if finding.level in ("fail", "warn")] == []


# -- code that cannot be imported -------------------------------------------------------------------------------------------

MUTE = "class Mute(Exception):\n    def __str__(self): raise RuntimeError\n    __repr__ = __str__\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("\n\nraise ValueError('no such thing')", ("ValueError at", "pipeline.py:3: no such thing", "mend that line")),
        ("raise SystemExit(0)", ("SystemExit at", "pipeline.py:1")),
        ("import sys\nsys.exit('bye')", ("SystemExit at", "pipeline.py:2: bye")),
        ("class Odd(BaseException): pass\nraise Odd('odd')", ("Odd at", "pipeline.py:2: odd")),
        ("raise GeneratorExit", ("GeneratorExit at", "pipeline.py:1")),
        ("raise MemoryError", ("MemoryError at", "pipeline.py:1")),
        ("def f(): f()\nf()", ("RecursionError at", "maximum recursion depth exceeded")),
        ("def f(:", ("SyntaxError: ", "line 1")),
        ("import not_there", ("ModuleNotFoundError at", "pipeline.py:1: No module named 'not_there'")),
        ("raise ExceptionGroup('two', [ValueError(1), KeyError(2)])", ("ExceptionGroup at", "two (2 sub-exceptions)")),
        (MUTE + "raise Mute", ("Mute at", "its __str__ raised RuntimeError")),
        ("from flowstone import FlowStoneError\nclass E(FlowStoneError):\n    def __init__(self): pass\nraise E", ("E",)),
        ("raise ValueError('x' * 10_000_000)", ("ValueError at", "xxx...")),
        ("raise ValueError('\\x1b[2J\\u202e')", ("ValueError at", "\\x1b[2J\\u202e")),
        ("x = '\0'", ("null bytes",)),
        ("", ("has no Pipeline", 'pipeline = Pipeline("name", [assets])')),
        ("pipeline = 3", ("has no Pipeline", 'pipeline = Pipeline("name", [assets])')),
        (SHOP + "other = Pipeline('other', [orders])", ("has 2 Pipelines", "pipeline.py:other")),
        ("from flowstone import Pipeline\nPipeline('p', [print])", ("item 1", "decorate it with @asset")),
    ],
    ids=range(19),
)
def test_code_that_cannot_be_imported_is_one_error_with_its_line(tmp_path, command, code, words):
    """Whatever an import raises is told in a few lines with the place it came from; no folder is made."""
    (tmp_path / "pipeline.py").write_text(code + "\n")

    refused(command("run"), *words)
    assert not (tmp_path / ".flowstone").exists()


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "class Odd(BaseException): pass\nraise Odd"])
def test_the_process_ends_with_the_error_too(tmp_path, code):
    """What takes an interpreter down is an error like any other in a process of its own."""
    (tmp_path / "pipeline.py").write_text(code + "\n")

    refused(flowstone(tmp_path, "run"), "pipeline.py:")


def test_an_interrupted_import_is_an_interrupt(tmp_path):
    """Ctrl-C while the pipeline is imported ends with 130 and no traceback."""
    (tmp_path / "pipeline.py").write_text("raise KeyboardInterrupt\n")

    assert flowstone(tmp_path, "run") == (130, "", "interrupted\n")


# -- partition keys ---------------------------------------------------------------------------------------------------------

KEYS = [
    "x" * 10_240, 'it\'s "quoted"', "a/b/../../c", "..", "/etc/passwd", "a\nb", "a\\nb", "\U0001f600", "\u202eleft", "50%s%n",
    "-dash", "--force", " ", "", "\x1b[31m", "a\\b", "CON", "a\u0308", "ä", "s:YQ", "d:2026-11-23", "@none", "~", "*", "$x", "\0",
]  # fmt: skip


def test_any_text_is_a_partition_key(tmp_path):
    """Keys of any length and character have values of their own inside the outputs folder, found again without the code too."""

    @asset(partitions=Keys(str))
    def echo(ctx):
        return ctx.partition

    home = tmp_path / "home"
    with isolated_flow(Pipeline("p", [echo]), home=home) as flow:
        for key in KEYS:
            assert flow.run(partition=key).ok
        assert [flow.get("echo", partition=key) for key in KEYS] == KEYS
        assert [finding for finding in flow.doctor() if finding.level in ("fail", "warn")] == []
    with isolated_flow(home=home) as reader:  # without the code, as reading verbs are
        assert [reader.get("echo", partition=key) for key in KEYS] == KEYS

    stored = [path for path in (home / "outputs").rglob("*") if path.is_file()]
    assert len(stored) == len({path.parent for path in stored}) == len(KEYS)
    assert {path.relative_to(home).parts[:2] for path in stored} == {("outputs", "echo")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


@pytest.mark.parametrize("key", ["x" * 10_240, "--a/../b 'c' \"d\"\n\U0001f600\u202e"], ids=["10kB", "signs"])
def test_odd_keys_pass_through_the_command_line(tmp_path, key):
    """A key given on the command line is the key the code sees and the one ``get`` finds; commands print it without harm."""
    (tmp_path / "pipeline.py").write_text(
        "from flowstone import Keys, Pipeline, asset\n"
        "@asset(partitions=Keys(str))\ndef echo(ctx): return ctx.partition\n"
        "pipeline = Pipeline('p', [echo])\n"
    )
    assert flowstone(tmp_path, "run", "--partition", key).code == 0
    got = flowstone(tmp_path, "get", "echo", "--partition", key)
    listed = flowstone(tmp_path, "status", "echo")

    assert (got.code, got.out, got.err) == (0, key + "\n", "")
    assert listed.code == 0
    assert "\u202e" not in listed.out
    assert len([line for line in listed.out.splitlines() if "up to date" in line and "echo" in line]) == 1


NESTED = (1,)
for _ in range(20):
    NESTED = (NESTED,)


@pytest.mark.parametrize(
    "key",
    ["half \udcff", 1.5, b"x", ["a"], object(), ("a", 2.5), 10**5000, NESTED],
    ids=["surrogate", "float", "bytes", "list", "object", "float in a tuple", "5,000 digits", "nested"],
)
def test_what_is_no_key_is_refused(tmp_path, key):
    """Half a surrogate pair, floats, bytes, lists, objects and bottomless tuples are refused; nothing is recorded."""

    @asset(partitions=Keys(tuple if isinstance(key, tuple) else int if isinstance(key, int) else str))
    def a():
        return 1

    with isolated_flow(Pipeline("p", [a]), home=tmp_path / "home") as flow:
        with pytest.raises(PartitionError) as error:
            flow.run(partition=key)
        assert len(str(error.value)) < 500
    assert not (tmp_path / "home").exists()


# -- names of assets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 201,
        "a.b",
        "a-b",
        "1a",
        "a b",
        "é",
        "a/b",
        "..",
        "a\0b",
        "a\nb",
        "\U0001f600",
        "ctx",
        "config",
        7,
        None.__class__,
        ["a"],
    ],
)
def test_what_cannot_name_an_asset_is_refused(name):
    """Names outside letters, digits and ``_``, too long ones and reserved ones are refused where they are declared."""
    with pytest.raises(ValidationError) as error:
        Pipeline("p", [asset(name=name)(lambda: 1)])

    assert "reserved" in str(error.value) or "use letters, digits and _" in str(error.value)
    assert len(str(error.value)) < 500


def test_names_at_every_edge_have_values_of_their_own(tmp_path):
    """The longest name, names of devices, keywords, dunders, and names that differ in case only keep apart, files included."""
    names = ["a" * 200, "a" * 199 + "b", "CON", "con", "Con", "_", "__", "class", "None", "self", "latest", "flowstone", "a1"]
    lines = [f"@asset(name={name!r})\ndef f{i}(): return {name!r}" for i, name in enumerate(names)]
    assets = ", ".join(f"f{i}" for i in range(len(names)))
    (tmp_path / "pipeline.py").write_text(
        "\n".join(["from flowstone import Pipeline, asset", *lines, f"pipeline = Pipeline('p', [{assets}])"])
    )
    assert flowstone(tmp_path, "run", "--quiet").code == 0

    with FlowStone(home=tmp_path / ".flowstone", project=tmp_path.name) as flow:
        assert [flow.get(name) for name in names] == names
        assert [finding for finding in flow.doctor() if finding.level in ("fail", "warn")] == []
    stored = [path.name.lower() for path in (tmp_path / ".flowstone/outputs").rglob("*") if path.is_file()]
    assert len(set(stored)) == len(names), "file names are their own where upper and lower case are one"


def test_the_environment_is_checked_too(shop, command, monkeypatch):
    """A variable with a value no setting can have is named with the value and what is possible."""
    monkeypatch.setenv("FLOWSTONE_OUTPUTS_DURABILITY", "eternal")
    refused(command("run"), "outputs.durability", "eternal", "process, power")
    monkeypatch.delenv("FLOWSTONE_OUTPUTS_DURABILITY")
    monkeypatch.setenv("FLOWSTONE_ACTOR", "x\ny")
    refused(command("run"), "actor", "printable")
    assert not (shop / ".flowstone").exists()
    assert os.environ["FLOWSTONE_ACTOR"] == "x\ny"
