"""What somebody should be told by Prometheus: alerts, each with the command to run next. What fires them: ``alert_examples``.

Every expression is built from definitions. The windows hold for an exporter that is scraped at least every minute.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from flowstone.observability.metrics import decisions as d
from flowstone.observability.metrics import defaults as m
from flowstone.observability.prometheus.process_series import HOME_FREE, QUARANTINED, UNAUDITED
from flowstone.observability.prometheus.promql import Like, deployed, grown, quantile, rate, series, summed, value

Severity = Literal["critical", "warning", "info"]

SLOW_SECONDS = 5.0
SLOW_SHARE = 0.01
"""The objective for storage: at most this share of loads and stores takes longer than so many seconds."""
BURN = 14.4
"""How many times faster than the objective allows it may fail: at this rate a month's allowance is gone in two days.

Source: https://sre.google/workbook/alerting-on-slos
"""
_DAY = 86_400


class Alert(NamedTuple):
    """One alert: when it holds for *hold*, people read *summary* and are given *command*.

    ``$name`` in texts stands for the label of that name.
    """

    name: str
    expression: str
    summary: str
    command: str
    severity: Severity = "warning"
    hold: str = "0m"


def _present() -> list[Alert]:
    jobs, ticked = f"group by (job) ({series(m.BUILD)})", value(m.TICK_LAST)
    return [
        Alert(
            "FlowStoneExporterDown",
            f"group by (job) ({series(m.BUILD)} offset 15m) unless on (job) {jobs}\nor on () absent({series(m.BUILD)})",
            "Nobody tells the metrics of FlowStone: all exporters of the deployment are down, or none is scraped.",
            "flowstone metrics --serve HOST:PORT",
            "critical",
            "5m",
        ),
        Alert(
            "FlowStoneTickMissing",
            f"time() - {ticked} > 15 * 60\nor on (job) ({jobs} unless on (job) {ticked})",
            "flowstone tick was not seen for 15 minutes: dead work is not settled, nothing is marked overdue or delivered.",
            "flowstone tick",
            "critical",
            "5m",
        ),
    ]


def _runs() -> list[Alert]:
    oldest = value(m.RUN_OLDEST)
    measured = f"{quantile(m.RUN_DURATION, 0.99, '7d', ['pipeline'])} < {m.RUN_DURATION.buckets[-1]:g}"  # else it is not known
    usual = f"clamp_min(3 * ({measured}), 15 * 60)"
    return [
        Alert(
            "FlowStoneRunFailed",
            f"{grown(m.RUNS, '10m', m.BUILD, ['pipeline', 'outcome'], outcome=Like('failed|partial'))} > 0",
            "A run of pipeline $pipeline ended $outcome.",
            "flowstone runs --status $outcome",
        ),
        Alert(
            "FlowStoneRunStuck",
            f"time() - {oldest} > on (job, pipeline) {usual}\nor on (job, pipeline) time() - {oldest} > {_DAY}",
            "A run of pipeline $pipeline takes three times as long as 99 of 100 runs of the last week did, or longer than a day.",
            "flowstone runs --status running",
        ),
        Alert(
            "FlowStoneRunWaiting",
            f"{value(m.RUNS_WAITING)} > 0",
            "A run of pipeline $pipeline was stopped before its end and nobody went on with it for an hour.",
            "flowstone runs --status waiting",
            hold="1h",
        ),
    ]


def _assets() -> list[Alert]:
    return [
        Alert(
            "FlowStoneAssetOverdue",
            f"time() - {value(m.DUE)} > 0",
            "A value of asset $asset is not there, and was due.",
            "flowstone explain $asset",
        ),
        Alert(
            "FlowStoneRetryStorm",
            f"{grown(m.ATTEMPTS, '30m', m.BUILD, ['asset'], outcome=Like('failed|lost'))} > 10",
            "More than 10 attempts at asset $asset failed in half an hour.",
            "flowstone errors list --asset $asset",
        ),
        Alert(
            "FlowStoneWorkerLost",
            f"{grown(m.ATTEMPTS, '15m', m.BUILD, ['asset'], outcome='lost')} > 0",
            "A process died while it computed asset $asset: killed, out of memory, or its machine went away.",
            "flowstone errors list --asset $asset",
        ),
        Alert(
            "FlowStoneLostWorkUnsettled",
            f"{value(m.WORKERS_LOST)} > 0",
            "Processes died and left work behind that nobody has settled for 15 minutes.",
            "flowstone tick",
            hold="15m",
        ),
        Alert(
            "FlowStoneErrorGroup",
            f"{grown(m.ERROR_GROUPS, '10m', m.BUILD, ['asset', 'change'], change=Like('opened|regressed'))} > 0",
            "A group of errors of asset $asset $change: one that was never seen, or that was resolved.",
            "flowstone errors list --asset $asset",
            "info",
        ),
    ]


def _slow(window: str) -> str:
    by = ("manager", "operation")
    within = rate(m.IO_DURATION, window, "bucket", outcome="success", le=f"{SLOW_SECONDS}")
    every = rate(m.IO_DURATION, window, "count", outcome="success")
    return f"1 - {summed(m.IO_DURATION, within, by, 'bucket')} / {summed(m.IO_DURATION, every, by)} > {BURN * SLOW_SHARE:g}"


def _storage() -> list[Alert]:
    by = "job, manager, operation"
    enough = summed(m.IO_DURATION, rate(m.IO_DURATION, "1h", "count", outcome="success"), ("manager", "operation"))
    free = series(HOME_FREE)
    return [
        Alert(
            "FlowStoneStorageSlow",
            f"{_slow('1h')}\nand on ({by}) {_slow('5m')}\nand on ({by}) {enough} * 3600 >= 20",
            f"Of the last hour's $operation operations of IO manager $manager, over {BURN * SLOW_SHARE:.0%} took longer than "
            f"{SLOW_SECONDS:g} s.",
            "flowstone events --name 'flowstone.io.*'",
        ),
        Alert(
            "FlowStoneStorageFailing",
            f"{grown(m.IO_FAILURES, '15m', m.BUILD, ['manager', 'operation'])} > 2",
            "IO manager $manager fails to $operation values.",
            "flowstone errors list",
        ),
        Alert(
            "FlowStoneDiskFull",
            f"predict_linear({free}[6h], 14 * {_DAY}) < 0\nand count_over_time({free}[6h]) > 60",
            "At the rate of the last 6 hours the disk that $instance keeps its home on is full within 14 days.",
            "flowstone db prune --dry-run",
            hold="1h",
        ),
    ]


def _approvals() -> list[Alert]:
    oldest, deadline = value(d.CHECKPOINT_OLDEST), value(d.CHECKPOINT_DEADLINE)
    return [
        Alert(
            "FlowStoneApprovalWaiting",
            f"time() - ({oldest} + {deadline}) / 2 > 0",
            "Nobody has decided about asset $asset for more than half of the time there is.",
            "flowstone approvals list --asset $asset",
        ),
        Alert(
            "FlowStoneApprovalExpired",
            f"{grown(d.CHECKPOINTS, '10m', m.BUILD, ['asset'], outcome='expired')} > 0",
            "Nobody has decided about asset $asset in time: its value was refused, and what depends on it skipped.",
            "flowstone approvals list --status expired --asset $asset",
        ),
        Alert(
            "FlowStoneApprovalRefused",
            f"{grown(d.CHECKPOINT_REFUSED, '15m', m.BUILD, ['reason'])} > 10",
            "More than 10 attempts to decide about what waits for approval were refused in a quarter of an hour ($reason).",
            "flowstone audit list --action approval.refused",
        ),
        Alert(
            "FlowStoneControlWeakened",
            f"{grown(d.CONTROLS_WEAKENED, '10m', m.BUILD, ['control'])} > 0",
            "A control was weakened ($control): data, its history or its release is protected less than before.",
            "flowstone audit list --action control.weakened",
        ),
    ]


def _audit() -> list[Alert]:
    entries, verified = series(m.AUDIT_ENTRIES), value(m.AUDIT_LAST_VERIFY)
    unsealed = deployed(m.AUDIT_UNSEALED, f"min_over_time({series(m.AUDIT_UNSEALED)}[15m])")
    behind, accepted = value(m.AUDIT_UNANCHORED), value(m.AUDIT_LAST_ANCHOR)
    return [
        Alert(
            "FlowStoneAuditTampered",
            f"{value(m.AUDIT_FINDINGS)} > 0",
            "The audit log, records or stored bytes were changed past FlowStone: verifying them found differences.",
            "flowstone audit verify",
            "critical",
        ),
        Alert(
            "FlowStoneAuditNotVerified",
            f"time() - {verified} > 26 * 3600\n"
            f"or on (job) ((max by (job) ({entries} offset 26h) > 0) unless on (job) {verified})",
            "The audit log was not verified for 26 hours: what is tampered with goes unnoticed.",
            "flowstone audit verify",
        ),
        Alert(
            "FlowStoneAuditUnsealed",
            f"{unsealed} > 0 unless on (job) (time() - {value(m.AUDIT_LAST_SEAL)} < 15 * 60)",
            "Entries of the audit log are not sealed for 15 minutes: until then who owns the database can remove them unseen.",
            "flowstone audit seal",
            hold="5m",
        ),
        Alert(
            "FlowStoneAuditAnchorBehind",
            f"{behind} > 0 unless on (job, sink) (time() - {accepted} < 1800)",
            "Anchor $sink has accepted no tree head of the audit log for an hour: a log that is set back goes unnoticed there.",
            "flowstone audit seal",
            hold="30m",
        ),
        Alert(
            "FlowStoneAuditUnavailable",
            f"{series(UNAUDITED)} > 0",
            "Entries of the audit log could not be written on $instance: the changes they tell of were undone.",
            "flowstone doctor",
            "critical",
        ),
    ]


def _telemetry() -> list[Alert]:
    return [
        Alert(
            "FlowStoneTelemetryLost",
            f"{grown(m.TELEMETRY_LOST, '15m', m.BUILD, ['sink', 'reason'])} > 0",
            "$sink did not see everything ($reason). The record has it all.",
            "flowstone handlers",
        ),
        Alert(
            "FlowStoneHandlerQuarantined",
            f"{series(QUARANTINED)} > 0",
            "Handler $handler of $instance is in quarantine again and again: it raises or is slow.",
            "flowstone handlers",
            "info",
            "5m",
        ),
        Alert(
            "FlowStoneNotificationFailed",
            f"{grown(m.NOTIFICATIONS, '15m', m.BUILD, ['channel'], outcome='failed')} > 0",
            "Channel $channel did not take a message, and it was given up.",
            "flowstone notifications list",
        ),
        Alert(
            "FlowStoneSeriesOverflow",
            f"{grown(m.OVERFLOW_TOTAL, '30m', m.BUILD, ['metric'])} > 0",
            "Metric $metric has as many label sets as metrics.max_series allows: new ones are counted together.",
            "flowstone catalogue metrics",
            "info",
        ),
    ]


ALERTS: tuple[Alert, ...] = (*_present(), *_runs(), *_assets(), *_storage(), *_approvals(), *_audit(), *_telemetry())
