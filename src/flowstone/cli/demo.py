"""``flowstone demo``: write a small project that reviews a Python environment, and run it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from flowstone import FlowStone, __version__
from flowstone.app.pipelines import load_pipeline
from flowstone.cli import demo_project, killing, releasing, tampering
from flowstone.cli.console import WIDTH, RunConsole, footer, terminal
from flowstone.cli.words import bytes_of
from flowstone.execution.result import RunResult
from flowstone.foundation.errors import UsageError
from flowstone.foundation.serialize import to_json
from flowstone.observability.logs.shape import one_line

FILES = {"pipeline.py": "pipeline.py", "README.md": "README.md"}
FOLDER = Path("flowstone-demo")
STORIES = {"--kill": (killing.show, Path("flowstone-kill")), "--tamper": (tampering.show, Path("flowstone-tamper"))}
SHOWN = 6
NEEDED = ("cyclonedx", "license_expression", "packaging", "jinja2", "matplotlib")


@click.command(short_help="Write and run a project that reviews a Python environment.")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--python", metavar="PATH", help="Interpreter of the environment to review; default: the active one.")
@click.option("--yes", is_flag=True, help="Approve the bill of materials as demo-reviewer, and go on.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the last lines.")
@click.option("--kill", is_flag=True, help="Instead: kill a small run with -9 in the middle, and go on with it.")
@click.option("--tamper", is_flag=True, help="Instead: change a result and its record in a copy, and find that out.")
@click.pass_context
def demo(ctx: click.Context, folder: Path | None, python: str | None, yes: bool, quiet: bool, kill: bool, tamper: bool) -> None:
    """Write a project into FOLDER and run it. Run it twice: the second run reuses what it can.

    FOLDER is ./flowstone-demo, ./flowstone-kill with --kill, or ./flowstone-tamper with --tamper.
    """
    asked = [option for option, given in (("--kill", kill), ("--tamper", tamper)) if given]
    if len(asked) > 1:
        raise UsageError("--kill and --tamper are two demos", hint="one after the other")
    if asked:
        (option,) = asked
        if python or quiet or yes:
            text = f"{option} reviews no environment and is about what is printed"
            raise UsageError(text, hint="leave out --python, --yes and --quiet")
        show, default = STORIES[option]
        show(folder or default)
    else:
        _review(ctx, folder or FOLDER, python, quiet=quiet, yes=yes)


def _review(ctx: click.Context, folder: Path, python: str | None, *, quiet: bool, yes: bool) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the demo needs packages that are not installed: {', '.join(missing)}", hint="pip install 'flowstone[demo]'"
        )
    environment = _environment(python)
    if shutil.which(environment) is None and not Path(environment).is_dir():
        raise UsageError(
            f"--python {environment}: there is no such interpreter",
            hint="give the path of a python, or of an environment's folder",
        )
    lines = _write(folder, environment if python else None)
    console = terminal()
    if not quiet:
        console.print(
            Text(
                f"FlowStone {__version__} reviews the Python environment {environment}:\n"
                "is it what was installed, and may we ship it?"
            )
        )
        console.print(
            Text(
                f"Nothing leaves this machine. Project: {folder}\n"
                f"(its pipeline.py is {lines} lines; read it, change it, run it again)"
            )
        )
    found = demo_project.settings_of(folder)
    demo_project.begin_anew(found)
    pipeline = load_pipeline(str((folder / "pipeline.py").resolve()), folder.resolve())
    with FlowStone(pipeline, settings=found) as flow:
        with RunConsole(flow, pipeline, quiet=quiet, console=console) as shown:
            flow.on_print(shown.echo)
            result = flow.run()
        _results(flow, result, folder, console, quiet=quiet)
        if result.asks and yes:
            result = releasing.decide(flow, pipeline, result, console, quiet=quiet)
        home = flow.settings.home
        if home is not None:
            size = bytes_of((home / "flowstone.db").stat().st_size)
            console.print(Text(f"Kept      {size} of records in {folder / '.flowstone'}, values in its folder outputs"))
        if not quiet:
            console.print(Text(f"Verified  {_verified(flow)}"))
        if result.asks:
            releasing.say_waiting(flow, folder, result, console, quiet=quiet)
    if not quiet and result.ok:
        _next(folder, result, console)
    if not (result.ok or result.asks):
        ctx.exit(1)


def _environment(python: str | None) -> str:
    """The environment's interpreter: *python*, else the active virtual environment's, else this one's; user's home as ``~``."""
    from_active = os.environ.get("VIRTUAL_ENV")
    return python or (str(Path(from_active) / "bin" / "python") if from_active else "") or sys.executable


def _write(folder: Path, python: str | None) -> int:
    config = f"\n[config]\npython = {to_json(str(Path(python).absolute()))}\n" if python else ""
    settings = f'# Settings of the demo project.\nproject = "flowstone-demo"\n{releasing.SETTINGS}{config}'
    return demo_project.write(folder, FILES, settings, replace_settings=python is not None)


def _results(flow: FlowStone, result: RunResult, folder: Path, console: Console, *, quiet: bool) -> None:
    done = {step.asset for step in (*result.materialized, *result.reused)}
    if "findings" in done and not quiet:
        _findings(flow.get("findings"), console, folder)
    footer(flow, result, console)
    if "report" in done:
        page = folder / "report.html"
        page.write_bytes(flow.get_bytes("report"))
        console.print(Text(f"Open      {page}"))


def _findings(found: dict[str, Any], console: Console, folder: Path) -> None:
    listed = found["findings"]
    title = "What a reviewer must look at"
    count = f"{len(listed)} finding{'s' if len(listed) != 1 else ''}, worst first"
    console.print(Text(f"\n{title}{count:>{WIDTH - len(title)}}"))
    names = [f"{item['distribution']} {item['version']}".strip() for item in listed[:SHOWN]]
    width = min(30, max(map(len, names), default=0))
    for item, name in zip(listed, names, strict=False):
        start = f"  {item['severity']:<7} {one_line(name)[:width]:<{width}}  "
        console.print(
            Text(textwrap.fill(one_line(item["text"]), WIDTH, initial_indent=start, subsequent_indent=" " * len(start)))
        )
    if len(listed) > SHOWN:
        console.print(Text(f"  ...     {len(listed) - SHOWN} more:  cd {shlex.quote(str(folder))} && flowstone get findings"))
    for sentence in found["not_known"]:
        console.print(Text(textwrap.fill(f"Not known: {one_line(sentence)}", WIDTH, subsequent_indent=" " * 11)))


def _verified(flow: FlowStone) -> str:
    """What verifying comes to: the audit log, the records it tells of, and the bytes of what they name."""
    report = flow.audit.verify()
    checked = report.checked
    told = f"{checked.entries:,} audit entries re-hashed and signed, {report.hashed:,} outputs re-hashed"
    why = checked.findings[0].message if checked.findings else next(iter(checked.incomplete), "")
    return f"{checked.verdict}: {why or told}"


def _next(folder: Path, result: RunResult, console: Console) -> None:
    steps = [
        ("enter", demo_project.enter(folder)),
        ("why", "flowstone explain findings"),
        ("lineage", "flowstone lineage bill_of_materials"),
        ("evidence", f"flowstone events --run {result.run_id}"),
        ("again", "flowstone run"),
        ("prove", "flowstone audit verify"),
    ]
    console.print()
    for word, command in steps:
        console.print(Text(f"  {word:<9} {command}"))
