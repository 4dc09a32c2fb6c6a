"""What the verbs of ``flowstone audit`` share: which entries are meant, instants, whose log it is and whose keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from flowstone import FlowStone
from flowstone.audit.note import PublicKey, public_key
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import FlowStoneError
from flowstone.stores.audit_questions import Wanted

MISUSED = 3
"""The exit code of a verification that was asked for wrongly: 0, 1 and 2 are verdicts."""
LAST = 2**63 - 1
"""The last nanosecond a database can hold; what is later is as good."""
_F = TypeVar("_F", bound=Any)


class Instant(click.ParamType):  # type: ignore[type-arg]
    """An ISO 8601 date or time, in UTC where it does not say otherwise; nanoseconds since the epoch."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date or time: 2026-11-23, 2026-11-23T10:44", param, ctx)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(-LAST, min(LAST, int(at.timestamp()) * NANOSECONDS + at.microsecond * 1_000))


class Verification(click.Command):
    """A verb whose exit codes 0, 1 and 2 are verdicts: being asked wrongly is 3."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the arguments."""
        made = self._marked(lambda: super(Verification, self).make_context(*args, **options))
        assert isinstance(made, click.Context)
        return made

    def invoke(self, ctx: click.Context) -> Any:
        """Verify."""
        return self._marked(lambda: super(Verification, self).invoke(ctx))

    @staticmethod
    def _marked(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (click.ClickException, FlowStoneError) as error:
            error.exit_with = MISUSED  # type: ignore[union-attr]
            raise


def filter_options(function: _F) -> _F:
    """The options that say which entries are meant: see :func:`wanted_of`."""
    for option in (
        click.option("--to", "until", type=Instant(), metavar="TIME", help="Only before this instant."),
        click.option("--from", "since", type=Instant(), metavar="TIME", help="Only from this instant on."),
        click.option("--run", "run_id", metavar="RUN", help="Only of this run."),
        click.option("--asset", metavar="ASSET", help="Only about this asset."),
        click.option("--subject", metavar="SUBJECT", help="Only about this subject, for example hold:hold_..."),
        click.option("--action", metavar="ACTION", help="Only this action; it may end in *."),
        click.option("--actor", metavar="ACTOR", help="Only what this actor did."),
    ):
        function = option(function)
    return function


def wanted_of(flow: FlowStone, chosen: Mapping[str, Any], *, every_project: bool = False) -> Wanted:
    """The entries that the options mean: of the project, unless of *every_project*."""
    project = "" if every_project else flow.settings.project
    texts = {name: chosen[name] or "" for name in ("actor", "action", "subject", "asset", "run_id")}
    return Wanted(project=project, since=chosen["since"], until=chosen["until"], **texts)


def trust_options(function: _F) -> _F:
    """The options that say whose log it is and whose signature counts: nothing is believed of the file."""
    for option in (
        click.option("--key", "keys", multiple=True, metavar="KEY", help="A key of the log: flowstone audit keys. Repeatable."),
        click.option("--origin", required=True, metavar="ORIGIN", help="The log's origin: flowstone audit head."),
    ):
        function = option(function)
    return function


signers_option = click.option(
    "--allowed-signers", "signers", metavar="FILE", help="Whose keys sign decisions: a file as ssh-keygen(1) describes it."
)
"""Whose signatures of decisions count."""


def keys_of(texts: Sequence[str]) -> list[PublicKey]:
    """The keys given."""
    return [public_key(text) for text in texts]
