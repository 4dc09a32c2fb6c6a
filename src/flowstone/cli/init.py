"""``flowstone init``: start an empty project."""

from __future__ import annotations

from pathlib import Path

import click

from flowstone.foundation.errors import UsageError

PIPELINE = '''"""The assets of this project. Run them with `flowstone run`."""

from flowstone import Pipeline, asset


@asset
def hello(ctx) -> dict:
    """A first asset: replace it with your own."""
    ctx.summary("1 greeting")
    return {"greeting": "hello"}


@asset
def shouted(hello) -> str:
    """Its parameter names the asset it needs."""
    return hello["greeting"].upper()


pipeline = Pipeline("%(name)s", [hello, shouted])
'''

SETTINGS = """# Settings of this project; `flowstone config show` prints all of them with their sources.
project = "%(name)s"
"""


@click.command(short_help="Start an empty project.")
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Write a small pipeline.py and flowstone.toml into FOLDER (default: here). Existing files are never overwritten."""
    name = "".join(c if c.isalnum() or c in "_-" else "_" for c in folder.resolve().name) or "project"
    files = {"pipeline.py": PIPELINE % {"name": name}, "flowstone.toml": SETTINGS % {"name": name}}
    for existing in (folder / file for file in files):
        if existing.exists():
            raise UsageError(f"{existing} exists already", hint="choose an empty folder: flowstone init FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}", hint="choose another folder") from error
    click.echo(f"Wrote {', '.join(str(folder / file) for file in files)}")
    where = "" if folder == Path() else f"cd {folder} && "
    click.echo(f"Next: {where}flowstone run")
