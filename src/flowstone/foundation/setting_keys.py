"""What can be set: each key with how its value is checked, its default, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flowstone.foundation.checks import (
    ALL,
    a_count_or_all,
    a_flag,
    a_length,
    a_length_or_all,
    a_number,
    a_secret,
    a_text,
    one_of,
    patterns,
    texts,
)
from flowstone.foundation.people import MACHINES, groups


class Key(NamedTuple):
    """A setting: how its value is checked, its default, and what it means."""

    parse: Callable[[str, Any], Any]
    default: Any
    doc: str


KEYS: dict[str, Key] = {
    "project": Key(a_text, None, "namespace of all keys; default: the name of the settings folder"),
    "pipeline": Key(a_text, None, "FILE_OR_MODULE[:NAME] of the pipeline; default: pipeline.py here or above"),
    "home": Key(
        a_text,
        None,
        "folder of everything FlowStone keeps; default: .flowstone beside the settings file, else beside the pipeline",
    ),
    "database.url": Key(
        a_text, None, "where facts are stored, sqlite:////path/file.db or postgresql://user@host/name; default: sqlite in home"
    ),
    "outputs.path": Key(a_text, None, "where the files IO manager stores; default: outputs in the home folder"),
    "outputs.manager": Key(one_of("files", "memory"), "files", "the IO manager of assets that name none"),
    "outputs.durability": Key(
        one_of("process", "power"), "process", "process: outputs and records survive kill -9; power: also losing power"
    ),
    "run.executor": Key(one_of("inline", "thread", "process"), "inline", "where assets are computed that do not say so"),
    "run.jobs": Key(a_count_or_all, ALL, "how many attempts run at once in a run, or all: what suits the executor"),
    "run.grace": Key(a_length, "10s", "how long what runs may still finish when flowstone run is asked to stop (SIGTERM)"),
    "logs.level": Key(
        one_of("debug", "info", "warning", "error"), "warning", "least level of FlowStone's log lines on standard error"
    ),
    "logs.format": Key(one_of("console", "json"), "console", "shape of FlowStone's log lines on standard error"),
    "logs.max_lines": Key(a_number, 10_000, "captured lines kept of one attempt"),
    "logs.max_run_lines": Key(a_number, 100_000, "captured lines kept of one run, of all its attempts together"),
    "retention.outputs": Key(a_count_or_all, 3, "versions kept of each asset and partition, or all"),
    "retention.events": Key(a_length_or_all, "90d", "how long the events of a run are kept after its end, or all"),
    "retention.logs": Key(a_length_or_all, "30d", "how long the captured lines of a run are kept after its end, or all"),
    "retention.errors": Key(a_length_or_all, ALL, "how long the errors of a run are kept after its end, or all"),
    "audit.enabled": Key(a_flag, True, "whether every change has its entry in the audit log"),
    "audit.name": Key(a_text, None, "the beginning of the log's origin, for people; default: the name of this machine"),
    "audit.seal": Key(
        one_of("auto", "tick"),
        None,
        "who seals the audit log: auto, whoever writes, or tick, flowstone tick and flowstone audit seal alone; "
        "default: auto on SQLite, tick on PostgreSQL",
    ),
    "audit.strict": Key(a_flag, False, "whether nothing runs while the audit log does not go on from what was signed before"),
    "audit.anchors": Key(
        texts, (), "where signed tree heads of the audit log are kept as well: file:/a/folder of another volume, or log"
    ),
    "audit.require_approval_for_weakening": Key(
        a_flag, False, "whether an asset whose gate protects less than when it was last computed waits for those it asked before"
    ),
    "approvals.allow_asserted": Key(
        a_flag,
        False,
        "whether who only says who they are (--as, FLOWSTONE_ACTOR) may decide, be one of a quorum, or of four eyes",
    ),
    "approvals.allowed_signers": Key(
        a_text, None, "file of the SSH keys that people sign decisions with, as ssh-keygen(1) describes ALLOWED SIGNERS"
    ),
    "approvals.groups": Key(groups, {}, "the people of each group, as a table of lists of names; in a variable as JSON"),
    "approvals.machines": Key(texts, MACHINES, "names of who requests runs and is no person: four eyes then needs two people"),
    "metrics.max_series": Key(
        a_number, 1_000, "sets of label values a metric may have; what is beyond is counted under __overflow__"
    ),
    "metrics.token": Key(a_secret, None, "secret:NAME of the token that who scrapes must bring; needed beyond this machine"),
    "telemetry.otel": Key(
        one_of("auto", "on", "off"), "auto", "OpenTelemetry; auto: where it is set up, or its environment variables ask for it"
    ),
    "redaction.patterns": Key(patterns, (), "further regular expressions to mask in events, errors and captured lines"),
}
