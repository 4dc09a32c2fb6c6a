"""What the documents say is so: code runs and prints what stands there, links lead somewhere, commands and files exist."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from opentelemetry import trace as trace_api

from flowstone.cli.main import flowstone

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TITLE = re.compile(r"# (\S+\.py)\n")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: its language, its text and the line its text begins at."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in FENCE.finditer(text)]


def name_of(page: Path) -> str:
    """The page's path from the repository's root."""
    return page.relative_to(ROOT).as_posix()


RUNNABLE = [page for page in PAGES if any(block.language in {"python", "console"} for block in blocks(page))]


class Reader:
    """Does what a reader of one page does: saves files, runs code, types commands; and compares what is printed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.printed = folder, ""
        self.names: dict[str, Any] = {"__name__": "__docs__"}

    def take(self, page: Path, block: Block) -> None:
        """Follow one block of the page."""
        title = TITLE.match(block.text)
        if block.language == "python" and title:
            (self.folder / title[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
            with contextlib.redirect_stdout(io.StringIO()) as shown:
                exec(code, self.names)
            self.printed = shown.getvalue()
        elif block.language == "text":
            same(f"{name_of(page)}:{block.line}", lines_of(block.text), lines_of(self.printed))
            self.printed = ""
        elif block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, expected = part.partition("\n")
                self.type(f"{name_of(page)}:{block.line}: {command}", shlex.split(command), expected)

    def type(self, where: str, words: list[str], expected: str) -> None:
        """Run one command; ``exit N`` as the last line is its exit code, ``...`` stands for any lines."""
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return
        assert words[0] == "flowstone", where
        lines = expected.rstrip("\n").split("\n")
        code = int(lines.pop().split()[1]) if lines[-1].startswith("exit ") else 0
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "FLOWSTONE_ACTOR": "you", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == code, f"{where}\n{done.stdout}{done.stderr}"
        same(where, lines_of(plain("\n".join(lines))), lines_of(plain(done.stdout)))


def same(where: str, wanted: list[str], found: list[str]) -> None:
    """Compare what the page shows with what was printed; a line ``...`` stands for any lines."""
    shown = "\n".join(difflib.unified_diff(wanted, found, "the page", "what is printed", lineterm=""))
    position = 0
    for number, line in enumerate(wanted):
        if line == "...":
            continue
        skips = number > 0 and wanted[number - 1] == "..."
        reach = found[position:] if skips else found[position : position + 1]
        assert line in reach, f"{where}: {line!r}\n{shown}"
        position += reach.index(line) + 1
    assert position == len(found) or wanted[-1:] == ["..."], f"{where}: more was printed\n{shown}"


def plain(text: str) -> str:
    """What a command printed without what differs from run to run: ids, times, digests, places, the machine."""
    for pattern, put in (
        (r"\b(run|err)_[0-9a-z]{12}\b", r"\1_ID"),
        (r"\bgrp_[0-9a-f]{16}\b", "grp_ID"),
        (r"\b[0-9a-f]{4,64}\.\.", "DIGEST.."),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( UTC)?", "TIME"),
        (r"\b\d\d:\d\d:\d\d\b", "TIME"),
        (r"\b[\d.]+ (ms|s|min)\b", "DURATION"),
        (r"\bpid \d+ on \S+", "pid N on HOST"),
        (r"\bPython \d[\d.]+", "Python VERSION"),
        (r"\(OS user\)|\(asserted\)", "(KIND)"),
        (r"(?<!\S)/\S*/shop/", "/home/you/shop/"),
    ):
        text = re.sub(pattern, put, text)
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text that are not blank, each gap one space."""
    return [squeezed for line in text.split("\n") if (squeezed := " ".join(line.split()))]


@pytest.fixture(autouse=True)
def telemetry_of_its_own(monkeypatch):
    """What a page sets up of OpenTelemetry ends with it."""
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER_SET_ONCE", type(trace_api._TRACER_PROVIDER_SET_ONCE)())


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_the_page_does_what_it_says(page, tmp_path, monkeypatch):
    """From the top of the page to its end, code runs and commands end as shown, and both print what stands there."""
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path)

    for block in blocks(page):
        reader.take(page, block)


def test_pages_that_must_run_are_run():
    """The README, the tutorial and the how-to pages have code that is run."""
    must = {"README.md", "docs/tutorial.md", *(name_of(page) for page in PAGES if page.parent.name == "how-to")}

    assert must - {name_of(page) for page in RUNNABLE} == set()


def test_the_readme_has_twelve_lines():
    """The first program of the README has as many lines of code as its heading says."""
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "python")

    assert "## Twelve lines\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len([line for line in first.text.splitlines() if line]) == 12


def test_generated_pages_are_current():
    """Running ``make docs`` would change nothing."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    stale = [place for place, page in generate.PAGES.items() if (ROOT / "docs" / place).read_text(encoding="utf-8") != page()]

    assert stale == [], "run `make docs`"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """Every link to a file of the repository names one that is there, and an anchor it has."""
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            lost.append(target)

    assert lost == []


def commands(page: Path) -> list[str]:
    """What the page says of ``flowstone``: code spans, and lines of blocks that are no Python."""
    text = page.read_text(encoding="utf-8")
    lines = [line.removeprefix("$ ") for block in blocks(page) if block.language != "python" for line in block.text.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [part for part in [*lines, *spans] if part.startswith("flowstone ")]


def unknown(command: str) -> str | None:
    """What of a command line the program does not know: a verb or an option."""
    words = re.split(r"  +| \\\||[;|]", command)[0].split()[1:]
    options = {flag for parameter in flowstone.params for flag in parameter.opts} | {"--help", "-h"}
    node: click.Command = flowstone
    for word in words:
        if word.startswith("-"):
            if word.partition("=")[0] not in options:
                return word
        elif isinstance(node, click.Group) and word != "VERB":
            below = node.get_command(click.Context(node), word)
            if below is None:
                return word
            node, options = below, options | {flag for parameter in below.params for flag in parameter.opts}
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_every_command_exists(page):
    """Each verb and each option that the page gives to ``flowstone`` is one the program has."""
    assert [(command, word) for command in commands(page) if (word := unknown(command))] == []


def test_files_named_by_the_architecture_exist():
    """Every module that ARCHITECTURE names is there: ``room/module`` below the package, anything else below the root."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[`(](\w+/[\w/.]+)[`)]", page))

    def is_there(name: str) -> bool:
        places = [at / ending for at in (ROOT, ROOT / "src/flowstone") for ending in (name, f"{name}.py")]
        return any(place.exists() for place in places)

    assert len(named) > 20
    assert [name for name in sorted(named) if not is_there(name)] == []
