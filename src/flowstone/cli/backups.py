"""``flowstone db backup``, ``restore`` and ``verify``: one file that holds the whole database."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace as changed
from pathlib import Path

import click

from flowstone.app import identity
from flowstone.app.backups import Checked, check
from flowstone.app.backups import restore as restore_
from flowstone.app.wiring import Deployment
from flowstone.cli.grammar import given, json_option
from flowstone.cli.lines import say, say_json, say_rows
from flowstone.cli.session import find, open_for_reading
from flowstone.cli.words import counted
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.settings import Settings

_folder_option = click.option("--outputs", "folder", metavar="DIR", help="The folder of the copied bytes of outputs.")
_verify_option = click.option("--verify", "verify_", is_flag=True, help="Look at the result as flowstone db verify does.")


@click.command()
@click.argument("file")
@click.option(
    "--outputs", "folder", metavar="DIR", help="Also copy the bytes of outputs into DIR; what is there is not copied again."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_verify_option
@json_option
@click.pass_context
def backup(ctx: click.Context, file: str, folder: str | None, force: bool, verify_: bool, as_json: bool) -> None:
    """Copy the whole database, of every project in it, as it is at this moment, into FILE. Runs may go on meanwhile."""
    flow = open_for_reading(ctx)
    done = flow.backup(file, outputs=folder, overwrite=force, verify=verify_)
    _report(ctx, done, as_json=as_json, what=f"Written: {file}")
    if not as_json and folder is None:
        say(f"The bytes of outputs are not in it: copy {flow.settings.outputs.path}, or give --outputs DIR")


@click.command()
@click.argument("file")
@click.option("--into", "url", metavar="URL", help="Another database; default: the one of the settings.")
@click.option("--replace", is_flag=True, help="Replace what is in the database.")
@_folder_option
@_verify_option
@json_option
@click.pass_context
def restore(
    ctx: click.Context, file: str, url: str | None, replace: bool, folder: str | None, verify_: bool, as_json: bool
) -> None:
    """Fill the database from the backup FILE: everything or nothing. A backup of SQLite goes into PostgreSQL, and back."""
    settings = find(given(ctx)).settings
    if url is not None:
        settings = changed(settings, database_url=url)
    with closing(Deployment(settings)) as deployment:
        done = restore_(
            deployment, Path(file), folder=Path(folder) if folder else None, replace=replace, verify=verify_,
            actor=identity.actor(given(ctx).actor),
        )  # fmt: skip
    _report(ctx, done, as_json=as_json, what=f"Restored into {_shown(settings)}")
    if url is not None and not as_json:
        say("To work with it: set database.url, or FLOWSTONE_DATABASE_URL")


@click.command()
@click.argument("file")
@_folder_option
@json_option
@click.pass_context
def verify(ctx: click.Context, file: str, folder: str | None, as_json: bool) -> None:
    """Look at the backup FILE as a whole: the database, its references, and every byte of current outputs."""
    settings = find(given(ctx)).settings
    done = check(Path(file), Path(folder) if folder else settings.outputs.path)
    _report(ctx, done, as_json=as_json, what=f"Looked at {file}")


def _report(ctx: click.Context, done: Checked, *, as_json: bool, what: str) -> None:
    if as_json:
        say_json(done)
    else:
        say(f"{what}: schema {done.schema}, {counted(sum(done.rows.values()), 'row')}")
        say_rows((name, f"{count:,}") for name, count in done.rows.items() if count)
        if done.verified:
            _say_verified(done)
    if not done.ok:
        ctx.exit(1)


def _say_verified(done: Checked) -> None:
    for fault in done.faults:
        say(f"fault: {fault}")
    for wrong in done.wrong_bytes:
        say(f"wrong bytes: {wrong}")
    if done.ok:
        say(f"Verified: the database is whole, and {counted(done.hashed, 'current output')} had the recorded bytes.")
    if done.elsewhere:
        say(f"Not checked: {counted(done.elsewhere, 'current output')} in the memory of a process")


def _shown(settings: Settings) -> str:
    return Redactor(settings.redaction_patterns).text(settings.database_url)
