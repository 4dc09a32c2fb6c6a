"""``flowstone config``: every setting, its value and its source."""

from __future__ import annotations

from typing import Any

import click

from flowstone.cli.grammar import given, json_option
from flowstone.cli.lines import say, say_json, say_rows
from flowstone.cli.session import find
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json


@click.group()
def config() -> None:
    """Show the settings and where they come from."""


@config.command()
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Print each setting, its value without secrets, and where it was set."""
    settings = find(given(ctx)).settings
    redactor = Redactor(settings.redaction_patterns)
    rows = [(key, _safe(key, value, redactor), source) for key, value, source in settings.rows()]
    if as_json:
        for key, value, source in rows:
            say_json({"key": key, "value": value, "source": source})
        return
    say(f"settings file {settings.file or '(none)'}   environment {settings.environment or '(none)'}")
    say_rows((key, source, _text(value)) for key, value, source in rows)


def _safe(key: str, value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str) and value.startswith("secret:"):
        return value  # where a secret is, not what it is
    return redactor.value(value, key.rpartition(".")[2]) if key != "redaction.patterns" else value


def _text(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else to_json(value)
