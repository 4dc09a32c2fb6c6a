"""What every verb shares: options that stand before or after the verb, and verbs that load when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import click

from flowstone.foundation.errors import UsageError, did_you_mean

_META = "flowstone.given."
_SHARED = {
    "pipeline": (
        ("-p", "--pipeline"),
        "FILE_OR_MODULE[:NAME]",
        "The pipeline; default: settings, else pipeline.py here or above.",
    ),
    "environment": (("--env",), "NAME", "The environment of the settings file."),
    "actor": (("--as",), "ACTOR", "Who acts, as you say; default: the operating system's user."),
    "home": (("--home",), "DIR", "The folder of everything FlowStone keeps."),
    "project": (("--project",), "NAME", "The namespace of all keys."),
}
_F = TypeVar("_F", bound=Any)


class Verb(NamedTuple):
    """Where a verb's code is, what it does in one line, and the heading it stands under."""

    place: str
    line: str
    heading: str


class Given(NamedTuple):
    """The shared options as given, before or after the verb; the later one wins."""

    pipeline: str | None = None
    environment: str | None = None
    actor: str | None = None
    home: str | None = None
    project: str | None = None


def given(ctx: click.Context) -> Given:
    """The shared options of this call."""
    return Given(**{name: ctx.meta.get(_META + name) for name in Given._fields})


def shared_options(*, hidden: bool) -> list[click.Option]:
    """New option objects for every shared option; *hidden* leaves them out of a verb's own help."""
    return [
        click.Option(
            [*flags, f"given_{name}"], metavar=metavar, help=text, hidden=hidden, expose_value=False, callback=_remember
        )
        for name, (flags, metavar, text) in _SHARED.items()
    ]  # fmt: skip


def _remember(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        if not value.strip():
            raise click.BadParameter("a text is needed", ctx=ctx, param=parameter)
        ctx.meta[f"{_META}{str(parameter.name).removeprefix('given_')}"] = value


def json_option(function: _F) -> _F:
    """The option ``--json`` of every verb that reads."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or one a line.")(function)


def partition_option(function: _F) -> _F:
    """The option ``--partition`` of every verb that asks for one value."""
    return click.option("--partition", metavar="KEY", help="The partition; default: the newest.")(function)


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are called: asking for help imports none of them."""

    def __init__(self, verbs: Mapping[str, Verb], **options: Any) -> None:
        super().__init__(**options)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs, in the order of the table."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the verb *cmd_name* and let it take the shared options; ``None`` for an unknown one."""
        if cmd_name not in self._verbs:
            return None
        module, _, name = self._verbs[cmd_name].place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        _accept_shared(command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; raises :class:`UsageError` with the closest name for one that is not there."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self._verbs) or "flowstone --help lists the verbs"
            raise UsageError(f"there is no verb {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the verbs under their headings; none is imported for it."""
        for heading in dict.fromkeys(verb.heading for verb in self._verbs.values()):
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, verb.line) for name, verb in self._verbs.items() if verb.heading == heading], col_max=13
                )


def _accept_shared(command: click.Command) -> None:
    """Let *command*, and every verb under it, take the shared options after its name."""
    if any(parameter.name == "given_pipeline" for parameter in command.params):
        return
    command.params = [*command.params, *shared_options(hidden=True)]
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _accept_shared(below)
    else:
        command.epilog = (
            "Also: -p FILE_OR_MODULE[:NAME], --env NAME, --as ACTOR, --home DIR, --project NAME (see flowstone --help)."
        )
