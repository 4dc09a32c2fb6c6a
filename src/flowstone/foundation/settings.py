"""Settings: one frozen object of named groups, read once, passed as values.

Each source returns only what was set there; later ones win: the settings file (``flowstone.toml``, or ``[tool.flowstone]``
of ``pyproject.toml``), its ``[environments.NAME]``, environment variables, arguments. Defaults apply last. Unknown keys are
errors.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowstone.foundation import channels as channels_
from flowstone.foundation.channels import ChannelSettings
from flowstone.foundation.checks import ALL
from flowstone.foundation.durations import parse_duration, show_duration
from flowstone.foundation.errors import SettingsError, did_you_mean
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.setting_groups import (
    AuditSettings,
    LogSettings,
    MetricSettings,
    OutputSettings,
    RetentionSettings,
    RunSettings,
    TelemetrySettings,
)
from flowstone.foundation.setting_keys import KEYS

FILES = ("flowstone.toml", "pyproject.toml")
PREFIX = "FLOWSTONE_"
OTHER_VARIABLES = frozenset({"FLOWSTONE_ENV", "FLOWSTONE_ACTOR", "FLOWSTONE_DEBUG", "FLOWSTONE_STATE_HOME"})


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, resolved; ``sources`` names where each value came from."""

    project: str
    pipeline: str | None
    home: Path | None
    """``None``: everything in memory."""
    database_url: str
    outputs: OutputSettings
    logs: LogSettings
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    run: RunSettings = field(default_factory=RunSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    redaction_patterns: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
    environment: str | None = None
    file: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, Any, str]]:
        """Each setting, its value and its source, in a fixed order."""
        values = {
            "project": self.project, "pipeline": self.pipeline, "home": str(self.home) if self.home else "(in memory)",
            "database.url": self.database_url, "outputs.path": str(self.outputs.path), "outputs.manager": self.outputs.manager,
            "outputs.durability": self.outputs.durability,
            "run.executor": self.run.executor, "run.jobs": self.run.jobs if self.run.jobs is not None else ALL,
            "run.grace": show_duration(self.run.grace),
            "logs.level": self.logs.level, "logs.format": self.logs.format,
            "logs.max_lines": self.logs.max_lines, "logs.max_run_lines": self.logs.max_run_lines,
            **_as_text(self.retention),
            "audit.enabled": self.audit.enabled, "audit.name": self.audit.name, "audit.seal": self.audit.seal,
            "audit.strict": self.audit.strict, "audit.anchors": list(self.audit.anchors),
            "audit.require_approval_for_weakening": self.audit.require_approval_for_weakening,
            "approvals.allow_asserted": self.approvals.allow_asserted,
            "approvals.allowed_signers": str(self.approvals.allowed_signers) if self.approvals.allowed_signers else None,
            "approvals.groups": {name: list(people) for name, people in self.approvals.groups.items()},
            "approvals.machines": list(self.approvals.machines),
            "metrics.max_series": self.metrics.max_series, "metrics.token": self.metrics.token,
            "telemetry.otel": self.telemetry.otel,
            "redaction.patterns": list(self.redaction_patterns),
        }  # fmt: skip
        values |= {f"config.{name}": value for name, value in self.config.items()}
        for channel in self.channels.values():
            values |= channel.rows()
        return [(key, value, self.sources.get(key, "default")) for key, value in values.items()]


def find_file(start: Path) -> Path | None:
    """The nearest settings file in *start* or above; a ``pyproject.toml`` counts when it has ``[tool.flowstone]``."""
    for folder in (start, *start.parents):
        for name in FILES:
            path = folder / name
            if path.is_file() and (name == FILES[0] or "flowstone" in _read(path).get("tool", {})):
                return path
    return None


def load(
    *,
    start: Path | None = None,
    environment: str | None = None,
    beside: Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings found from *start* (default: the working directory) upwards.

    *beside* is the pipeline's folder, where the home folder goes when there is no settings file. *arguments* are dotted keys;
    ``home=":memory:"`` keeps everything in memory. Raises :class:`SettingsError`.
    """
    variables = os.environ if variables is None else variables
    start = (start or Path.cwd()).resolve()
    file = find_file(start)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(found: Mapping[str, Any], source: str) -> None:
        for key, value in found.items():
            values[key], sources[key] = value, source

    environment = environment or variables.get("FLOWSTONE_ENV")
    table = _table(file) if file else {}
    environments = table.pop("environments", {})
    if file:
        take(_flatten(table, str(file)), file.name)
    if environment:
        if environment not in environments:
            known = ", ".join(environments) or "none"
            raise SettingsError(
                f"there is no environment {environment!r}", hint=did_you_mean(environment, environments) or f"declared: {known}"
            )
        take(_flatten(environments[environment], f"{file} [environments.{environment}]"), f"environment {environment}")
    take(_from_variables(variables), "environment variable")
    take({key: value for key, value in (arguments or {}).items() if value is not None}, "argument")
    return _resolve(values, sources, file, environment, file.parent if file else (beside or start))


def _resolve(values: dict[str, Any], sources: dict[str, str], file: Path | None, environment: str | None, base: Path) -> Settings:
    config = {key[7:]: value for key, value in values.items() if key.startswith("config.")}
    parsed = {key: KEYS[key].parse(key, values[key]) if key in values else KEYS[key].default for key in KEYS}
    in_memory = parsed["home"] == ":memory:"
    home = None if in_memory else (base / (parsed["home"] or ".flowstone")).resolve()
    if home is not None and sources.get("home") in ("environment variable", "argument"):
        home = Path(parsed["home"]).resolve()
    url = _anchored(parsed["database.url"], base) or ("sqlite://" if home is None else f"sqlite:///{home / 'flowstone.db'}")
    outputs = Path(parsed["outputs.path"]) if parsed["outputs.path"] else Path("outputs")
    where = outputs if home is None else (base / outputs if parsed["outputs.path"] else home / outputs)
    manager = "memory" if in_memory and "outputs.manager" not in values else parsed["outputs.manager"]
    return Settings(
        project=parsed["project"] or base.name or "flowstone",
        pipeline=parsed["pipeline"],
        home=home,
        database_url=url,
        outputs=OutputSettings(where, manager, parsed["outputs.durability"]),
        run=_run(parsed),
        logs=LogSettings(parsed["logs.level"], parsed["logs.format"], parsed["logs.max_lines"], parsed["logs.max_run_lines"]),
        retention=_retention(parsed),
        audit=_audit(parsed, url),
        approvals=_approvals(parsed, base),
        metrics=MetricSettings(parsed["metrics.max_series"], parsed["metrics.token"]),
        telemetry=TelemetrySettings(parsed["telemetry.otel"]),
        redaction_patterns=parsed["redaction.patterns"],
        config=config,
        channels=channels_.parse_channels(values),
        environment=environment,
        file=file,
        sources=sources,
    )


def _run(parsed: Mapping[str, Any]) -> RunSettings:
    jobs = parsed["run.jobs"]
    return RunSettings(parsed["run.executor"], None if jobs == ALL else jobs, parse_duration(parsed["run.grace"]))


def _audit(parsed: Mapping[str, Any], url: str) -> AuditSettings:
    values = {
        name: parsed[f"audit.{name}"] for name in ("anchors", "enabled", "name", "strict", "require_approval_for_weakening")
    }
    return AuditSettings(**values, seal=parsed["audit.seal"] or ("auto" if url.startswith("sqlite") else "tick"))


def _approvals(parsed: Mapping[str, Any], base: Path) -> ApprovalSettings:
    signers = parsed["approvals.allowed_signers"]
    values = {name: parsed[f"approvals.{name}"] for name in ("allow_asserted", "groups", "machines")}
    return ApprovalSettings(**values, allowed_signers=(base / signers).resolve() if signers else None)


def _retention(parsed: Mapping[str, Any]) -> RetentionSettings:
    lengths = {kind: parsed[f"retention.{kind}"] for kind in ("events", "logs", "errors")}
    outputs = parsed["retention.outputs"]
    return RetentionSettings(
        outputs=None if outputs == ALL else outputs,
        **{kind: None if length == ALL else parse_duration(length) for kind, length in lengths.items()},
    )


def _as_text(retention: RetentionSettings) -> dict[str, Any]:
    lengths = {kind: getattr(retention, kind) for kind in ("events", "logs", "errors")}
    shown = {kind: ALL if length is None else show_duration(length) for kind, length in lengths.items()}
    return {f"retention.{kind}": value for kind, value in {"outputs": retention.outputs or ALL, **shown}.items()}


def _anchored(url: str | None, base: Path) -> str | None:
    """The URL with a relative SQLite path taken from *base*, as every other path in settings is."""
    path = url.removeprefix("sqlite:///") if url and url.startswith("sqlite:///") else ""
    return f"sqlite:///{base / path}" if path and path != ":memory:" and not path.startswith("/") else url


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def _table(path: Path) -> dict[str, Any]:
    table = _read(path)
    found = table if path.name == FILES[0] else table["tool"]["flowstone"]
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: flowstone = {found!r} must be a table", hint="write [tool.flowstone]")
    if not isinstance(found.get("environments", {}), dict):
        raise SettingsError(f"{path}: environments = {found['environments']!r} must be a table", hint="write [environments.NAME]")
    return dict(found)


def _flatten(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise SettingsError(f"{where}: a table of settings is needed, not {table!r}")
    flat: dict[str, Any] = {}
    groups = {key.split(".")[0] for key in KEYS if "." in key}
    for name, value in table.items():
        if name == "config" or name in groups:
            if not isinstance(value, dict):
                raise SettingsError(f"{where}: {name} = {value!r} must be a table", hint=f"write [{name}]")
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        elif name == channels_.GROUP:
            flat |= channels_.flatten(value, where)
        else:
            flat[name] = value
    for key in flat:
        if key not in KEYS and not key.startswith("config.") and not channels_.is_key(key):
            raise SettingsError(f"{where}: unknown setting {key!r}", hint=did_you_mean(key, KEYS) or f"known: {', '.join(KEYS)}")
    return flat


def _from_variables(variables: Mapping[str, str]) -> dict[str, Any]:
    names = {PREFIX + key.upper().replace(".", "_"): key for key in KEYS}
    found: dict[str, Any] = {}
    for name, value in variables.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES or name.startswith("FLOWSTONE_TEST_"):
            continue
        if name in names:
            found[names[name]] = value
        elif name.startswith("FLOWSTONE_CONFIG_"):
            found[f"config.{name[17:].lower()}"] = value
        else:
            raise SettingsError(
                f"unknown environment variable {name}", hint=did_you_mean(name, names) or f"known: {', '.join(names)}"
            )
    return found
