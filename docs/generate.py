"""Writes the reference pages that come from the code: events, settings, command line. ``make docs`` runs it; a test compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import click

from flowstone.cli.grammar import shared_options
from flowstone.cli.main import VERBS, flowstone
from flowstone.events.catalogue import CATALOGUE
from flowstone.events.event import Event
from flowstone.events.schemas import BREAKING, breaks, snapshot
from flowstone.foundation.settings import KEYS, OTHER_VARIABLES, PREFIX
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.metrics.fold import KINDS
from flowstone.observability.otel.names import ATTRIBUTES, SPANS, UNITS, instrument_name
from flowstone.observability.prometheus.alerts import ALERTS
from flowstone.observability.prometheus.grafana import dashboard_file
from flowstone.observability.prometheus.process_series import PROCESS_FAMILIES
from flowstone.observability.prometheus.rule_files import rule_tests_file, rules_file

SCHEMAS = "reference/events.schema.json"
DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run `make docs`. -->\n"

EVENTS = """# Events

Every event FlowStone emits, as declared in `src/flowstone/events/catalogue/`. Each also has `at` (wall time in nanoseconds
since the epoch, UTC) and `trace_id`. Durations are integer nanoseconds of the monotonic clock; `partition` is the encoded key.
Names end in `start` and exactly one of `stop` and `exception`, or tell of a point in time. Fields that have their default value
are left out of the recorded payload.

A *label* has few distinct values, a *measurement* can be summed, an *attribute* identifies, a *text* is redacted. Their
JSON Schemas are in [events.schema.json](events.schema.json): events and fields may be added at any time, what breaks a reader
raises its `version`. Read them with `flowstone events` or `FlowStone.events`; hear them with `FlowStone.attach` ([how
to](../how-to/events-of-your-own.md#handlers)).
"""

SETTINGS = """# Settings

Later ones win: the settings file (`flowstone.toml`, or `[tool.flowstone]` of `pyproject.toml`, in the working directory or
above), its `[environments.NAME]` (chosen by `--env` or `FLOWSTONE_ENV`), environment variables, arguments. Defaults apply last.
An unknown key is an error. `flowstone config show` prints each value and where it came from.

`home` and `outputs.path` in the file are relative to the file's folder; `FLOWSTONE_HOME` and `--home` to the working directory.
A database needs an absolute path: `sqlite:////srv/shop/flowstone.db`.
"""

METRICS_PAGE = """# Metrics

The metrics of a deployment, as defined in `src/flowstone/observability/metrics/defaults.py`; `flowstone metrics` shows them, and
`FlowStone.metrics()` gives them. Those told *of events* are folded from the record: they count what every process of the project
did, also of processes that were killed, and go on over restarts, `flowstone db prune` and `db restore`. Those *read* are read
from the store's state when somebody asks.

Names carry the unit: a time is in seconds, a size in bytes. No metric has a label for runs or partitions; the exemplars of
counters and histograms name a run and its trace. Beyond `metrics.max_series` sets of label values, what is new is counted under
`__overflow__`.
[How to](../how-to/metrics-of-your-own.md) define your own.
"""

OPENTELEMETRY = """# OpenTelemetry

What FlowStone tells [OpenTelemetry](../how-to/opentelemetry.md), as in `src/flowstone/observability/otel/names.py`. Where
there are conventions (CI/CD, errors, exceptions; v1.44) they are followed. Empty values are left out. Log records of events have
the event's name, and its other fields as `flowstone.FIELD`; those of your events as `NAME.FIELD`.
"""

OF_A_PROCESS = """
## One process

What `flowstone run --metrics` shows while it works, and `flowstone metrics --serve` of itself. These begin at 0 with the process.
"""

ALERTS_PAGE = """# Alerts

The rules of [`deploy/prometheus/flowstone-alerts.yml`](../../deploy/prometheus/flowstone-alerts.yml), as `flowstone catalogue
alerts` prints them; `flowstone catalogue alerts --tests` prints what fires them, for `promtool test rules`. One deployment is one
`job` of Prometheus. In texts, `$name` is the label of that name.

"""

CONFIG = """
## Values for your assets: `config`

An asset declares what it reads, with defaults: `@asset(config={"currency": "EUR", "key": "secret:API_KEY"})`, and takes a
parameter `config`. The `[config]` table of the settings file, or `FLOWSTONE_CONFIG_CURRENCY`, gives other values; a value no
asset declares is an error. Configuration that changed outdates the assets that declare it, and no others. `secret:NAME` is read
late, from the environment variable `NAME` or the file `/run/secrets/NAME`; its value is never stored and is masked wherever it
shows up. An example:

```toml
project = "shop"

[outputs]
durability = "power"

[config]
currency = "CHF"

[environments.test]
home = ".flowstone-test"
```

## Where messages go: `notifications`

Each table `[notifications.NAME]` is a channel: `type` (`slack`, `teams`, `webhook`, `command` or `log`), `on` (what about;
default: everything), `url` (`secret:NAME` or `https://…`), `secret` (of a signed webhook, `secret:NAME`), `command` (a list of
words), `allow_private` and `allow_http` (false). They are set in the file alone, and an environment may change single keys of
them ([how to](../how-to/due-times-and-notifications.md#who-hears-of-it)).
"""

COMMAND_LINE = """# Command line

`flowstone VERB --help` says the same. What stands after the verb are assets, ids or folders; everything else is an option.
Options of all verbs may stand before or after the verb. The pipeline is `-p`, else the setting `pipeline`, else `pipeline.py`
here or above.

Verbs that read never import your code, except `assets` and `graph`; they never create or upgrade a database. With `--json` they
print one object, or one a line.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a materialization failed, or `doctor` found a failure |
| 2 | bad usage or input, or something FlowStone needs is not there |
| 130, 143 | interrupted by Ctrl-C or SIGTERM: the run waits to be resumed |
| 141 | nobody reads what is printed (as in `flowstone events \\| head`) |
"""


def events() -> str:
    """The page of every event, by what it is about."""
    parts = [NOTE, EVENTS]
    for subject, found in groupby(CATALOGUE.values(), key=lambda cls: cls.name.rpartition(".")[0] or cls.name):
        parts.append(f"\n## {subject}\n")
        for cls in found:
            parts.append(f"\n**`{cls.name}`**: {_first_line(cls)}{'' if cls.recorded else ' *Not recorded.*'}\n\n")
            parts.append(f"{_fields(cls)}\n")
    return "".join(parts)


def schemas() -> str:
    """The JSON Schema of every event, and the version they have together."""
    return json.dumps(snapshot(), indent=1, ensure_ascii=False) + "\n"


def refuse_to_break() -> None:
    """Exit when what would be written breaks who reads events: that is not done by writing documentation."""
    file = DOCS / SCHEMAS
    broken = breaks(json.loads(file.read_text(encoding="utf-8")), snapshot()) if file.exists() else []
    if broken:
        sys.exit("\n".join([*broken, BREAKING]))


def settings() -> str:
    """The page of every setting, with its environment variable and default."""
    rows = [
        f"| `{name}` | `{PREFIX}{name.upper().replace('.', '_')}` | {_default(key.default)} | {key.doc} |"
        for name, key in KEYS.items()
    ]
    other = ", ".join(f"`{name}`" for name in sorted(OTHER_VARIABLES))
    table = "\n".join(["\n| key | environment variable | default | meaning |", "|---|---|---|---|", *rows])
    return f"{NOTE}{SETTINGS}{table}\n\nFurther variables: {other}.\n{CONFIG}"


def command_line() -> str:
    """The page of every verb, from its own help."""
    parts = [NOTE, COMMAND_LINE, "\n## Options of all verbs\n\n", _options(shared_options(hidden=False))]
    for heading, verbs in groupby(VERBS.items(), key=lambda item: item[1].heading):
        parts.append(f"\n## {heading}\n")
        for name, _ in verbs:
            command = flowstone.get_command(click.Context(flowstone), name)
            parts += _verb(f"flowstone {name}", command)
    return "".join(parts)


def alerts() -> str:
    """The page of alerts."""
    rows = ["| alert | severity | fires after | what it says | next |", "|---|---|---|---|---|"]
    for alert in ALERTS:
        cells = (
            f"`{alert.name}`",
            alert.severity,
            "at once" if alert.hold == "0m" else alert.hold,
            alert.summary,
            f"`{alert.command}`",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return NOTE + ALERTS_PAGE + "\n".join(rows) + "\n"


def metrics() -> str:
    """The page of every metric of a deployment, by what it is about."""
    parts = [NOTE, METRICS_PAGE]
    for subject, found in groupby(METRICS, key=lambda metric: metric.name.split("_")[1]):
        parts.append(f"\n## {subject}\n\n| metric | kind | labels | meaning | from |\n|---|---|---|---|---|\n")
        for metric in found:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            events_ = ", ".join(f"`{name}`" for name in dict.fromkeys(source.event for source in metric.sources))
            cells = (f"`{metric.name}`", KINDS[metric.kind], labels, metric.description, events_ or "read")
            parts.append(f"| {' | '.join(cells)} |\n")
    parts += [OF_A_PROCESS, "\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"]
    for family in PROCESS_FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        parts.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n")
    return "".join(parts)


def opentelemetry() -> str:
    """The page of every span, attribute and instrument."""
    parts = [NOTE, OPENTELEMETRY, "\n## Spans\n\n| name | kind | stands for |\n|---|---|---|\n"]
    parts += [f"| `{name}` | {kind} | {meaning} |\n" for name, kind, meaning in SPANS]
    parts.append("\n## Attributes\n\n| attribute | on | meaning |\n|---|---|---|\n")
    parts += [f"| `{one.name}` | {one.on} | {one.meaning} |\n" for one in ATTRIBUTES]
    parts.append("\n## Instruments\n\n| instrument | unit | metric |\n|---|---|---|\n")
    told = [metric for metric in METRICS if metric.sources]
    parts += [f"| `{instrument_name(m.name, m.unit)}` | `{UNITS[m.unit]}` | `{m.name}` |\n" for m in told]
    return "".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "reference/opentelemetry.md": opentelemetry,
    "reference/alerts.md": alerts,
    "../deploy/grafana/flowstone-dashboard.json": dashboard_file,
    "../deploy/prometheus/flowstone-alerts.yml": rules_file,
    "../deploy/prometheus/flowstone-alerts-test.yml": rule_tests_file,
    "reference/events.md": events,
    "reference/metrics.md": metrics,
    SCHEMAS: schemas,
    "reference/settings.md": settings,
    "reference/command-line.md": command_line,
}


def _first_line(cls: type[Event]) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def _fields(cls: type[Event]) -> str:
    units = {name: "" if role.unit in ("", "1") else f", {role.unit}" for name, role in cls.fields.items()}
    return ", ".join(f"`{name}` ({role.kind}{units[name]})" for name, role in cls.fields.items()) + "."


def _default(value: object) -> str:
    return "" if value in (None, ()) else f"`{value}`"


def _verb(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _verb(f"{path} {name}", below)
        return
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    yield f"\n### {' '.join([path, *arguments])}\n\n"
    yield f"{' '.join((command.help or '').split())}\n"
    if options:
        yield f"\n{_options(options)}"


def _options(options: list[click.Option]) -> str:
    rows = ["| option | meaning |", "|---|---|"]
    for option in options:
        flags = ", ".join([*option.opts, *option.secondary_opts])
        number = isinstance(option.type, click.IntRange)
        value = "" if option.is_flag else f" {'N' if number else option.make_metavar(click.Context(flowstone))}"
        cells = [f"`{flags}{value}`", option.help or ""]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    refuse_to_break()
    for place, page in PAGES.items():
        (DOCS / place).write_text(page(), encoding="utf-8")
