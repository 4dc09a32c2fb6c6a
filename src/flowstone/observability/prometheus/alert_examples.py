"""For each alert what fires it, and what nearly does: ``promtool test rules`` runs them. One value a minute.

Values are written as Prometheus writes them: ``0x9 1x5`` is ten times 0 and six times 1, ``_`` is nothing, ``0+60x9`` rises.
"""

from __future__ import annotations

from typing import NamedTuple

from flowstone.observability.metrics import decisions as d
from flowstone.observability.metrics import defaults as m
from flowstone.observability.prometheus.alerts import SLOW_SECONDS
from flowstone.observability.prometheus.process_series import HOME_FREE, QUARANTINED, UNAUDITED
from flowstone.observability.prometheus.promql import Defined, series

JOB = "flowstone"
A, B = "exporter-a:9464", "exporter-b:9464"


class Given(NamedTuple):
    """A series and its values."""

    series: str
    values: str


class Example(NamedTuple):
    """What Prometheus has seen, and the labels of the alerts that fire at minute *at*: none when *fires* is empty."""

    alert: str
    given: tuple[Given, ...]
    at: int
    fires: tuple[dict[str, str], ...] = ()


def _seen(metric: Defined, values: str, part: str = "", /, *, at: str = A, **labels: str) -> Given:
    return Given(series(metric, part, job=JOB, instance=at, **labels), values)


def _up(minutes: int, *, at: str = A) -> Given:
    return _seen(m.BUILD, f"1x{minutes}", at=at, version="1", schema="1", environment="")


def _both(metric: Defined, values: str, /, **labels: str) -> tuple[Given, Given]:
    """The same from two exporters of one deployment."""
    return _seen(metric, values, **labels), _seen(metric, values, at=B, **labels)


def _counted(alert: str, metric: Defined, firing: str, quiet: str, told: dict[str, str], /, **labels: str) -> list[Example]:
    """A counter that appears with its first events in minute 40 fires in minute 42; older events, or too few, do not."""
    up = (_up(60), _up(90, at=B))
    return [
        Example(alert, (*up, *_both(metric, firing, **labels)), 42, ({"job": JOB, **told},)),
        Example(alert, (*up, *_both(metric, quiet, **labels)), 42),
        # A Prometheus that has just begun to look: what it sees first may have happened long ago.
        Example(alert, (_up(60)._replace(values="_x39 1x20"), _seen(metric, firing, **labels)), 42),
    ]


def _distributed(metric: Defined, /, *, slow: bool, **labels: str) -> tuple[Given, ...]:
    """Two measurements a minute, all within a second or all longer."""
    part = [_seen(metric, "0+0x90" if slow else "0+2x90", "bucket", **labels, le=f"{SLOW_SECONDS}")]
    rest = [_seen(metric, "0+2x90", "bucket", **labels, le="+Inf"), _seen(metric, "0+2x90", "count", **labels)]
    return (*part, *rest)


_FIRST, _OLD = "_x39 1x20", "1x60"
_SHOP = {"pipeline": "shop"}
_ORDERS = {"asset": "orders"}
_FILES = {"manager": "files", "operation": "store"}
_RUN = {**_SHOP, "outcome": "failed"}
_GROUP = {**_ORDERS, "change": "opened"}
_REFUSED, _CONTROL = {"reason": "not_approver"}, {"control": "approval"}
_LOSS = {"sink": "acme.mail", "reason": "failed"}

_PRESENT = (
    Example("FlowStoneExporterDown", (_up(10),), 25, ({"job": JOB},)),
    Example("FlowStoneExporterDown", (_up(10), _up(30, at=B)), 25),
    Example("FlowStoneExporterDown", (), 10, ({},)),
    Example("FlowStoneTickMissing", (_up(60), _seen(m.TICK_LAST, "600x60")), 40, ({"job": JOB},)),
    Example("FlowStoneTickMissing", (_up(60),), 20, ({"job": JOB},)),
    Example("FlowStoneTickMissing", (_up(60), *_both(m.TICK_LAST, "0+60x60")), 40),
)
_RUNS = (
    *_counted("FlowStoneRunFailed", m.RUNS, _FIRST, _OLD, _RUN, **_RUN),
    *_counted("FlowStoneRunFailed", m.RUNS, "1x39 2x20", "0x60", _RUN, **_RUN),
    Example("FlowStoneRunFailed", (_up(60), _seen(m.RUNS, _FIRST, **_SHOP, outcome="success")), 42),
    # Runs took up to 5 s; the one in flight began at minute 0.
    Example("FlowStoneRunStuck", (*_distributed(m.RUN_DURATION, slow=False, **_RUN), _seen(m.RUN_OLDEST, "0x90", **_SHOP)),
            20, ({"job": JOB, **_SHOP},)),
    Example("FlowStoneRunStuck", (*_distributed(m.RUN_DURATION, slow=False, **_RUN), _seen(m.RUN_OLDEST, "0x90", **_SHOP)), 14),
    Example("FlowStoneRunStuck", (_seen(m.RUN_OLDEST, "-86000x60", **_SHOP),), 7, ({"job": JOB, **_SHOP},)),
    Example("FlowStoneRunStuck", (_seen(m.RUN_OLDEST, "-86000x60", **_SHOP),), 6),
    Example("FlowStoneRunWaiting", (_seen(m.RUNS_WAITING, "1x70", **_SHOP),), 65, ({"job": JOB, **_SHOP},)),
    Example("FlowStoneRunWaiting", (_seen(m.RUNS_WAITING, "1x30 0x1 1x60", **_SHOP),), 65),
)  # fmt: skip
_ASSETS = (
    Example("FlowStoneAssetOverdue", _both(m.DUE, "600x60", **_ORDERS), 11, ({"job": JOB, **_ORDERS},)),
    Example("FlowStoneAssetOverdue", _both(m.DUE, "600x60", **_ORDERS), 9),
    *_counted("FlowStoneRetryStorm", m.ATTEMPTS, "_x39 11x20", "_x39 10x20", _ORDERS, **_ORDERS, outcome="failed"),
    *_counted("FlowStoneWorkerLost", m.ATTEMPTS, _FIRST, _OLD, _ORDERS, **_ORDERS, outcome="lost"),
    Example("FlowStoneLostWorkUnsettled", _both(m.WORKERS_LOST, "1x60"), 20, ({"job": JOB},)),
    Example("FlowStoneLostWorkUnsettled", _both(m.WORKERS_LOST, "1x10 0x60"), 20),
    *_counted("FlowStoneErrorGroup", m.ERROR_GROUPS, _FIRST, _OLD, _GROUP, **_GROUP),
)
_STORAGE = (
    Example("FlowStoneStorageSlow", _distributed(m.IO_DURATION, slow=True, **_FILES, outcome="success"), 90,
            ({"job": JOB, **_FILES},)),
    Example("FlowStoneStorageSlow", _distributed(m.IO_DURATION, slow=False, **_FILES, outcome="success"), 90),
    *_counted("FlowStoneStorageFailing", m.IO_FAILURES, "_x39 3x20", "_x39 2x20", _FILES, **_FILES, type="io_failed"),
    # A gigabyte an hour, of 300 and of 1,000.
    Example("FlowStoneDiskFull", (_seen(HOME_FREE, "300e9-16.7e6x140"),), 130, ({"job": JOB, "instance": A},)),
    Example("FlowStoneDiskFull", (_seen(HOME_FREE, "1000e9-16.7e6x140"),), 130),
)  # fmt: skip
_ASKED = _seen(d.CHECKPOINT_OLDEST, "600x90", **_ORDERS)
_APPROVALS = (
    # Asked at minute 10, until minute 70; then again until minute 130.
    Example(
        "FlowStoneApprovalWaiting", (_ASKED, *_both(d.CHECKPOINT_DEADLINE, "4200x90", **_ORDERS)), 41, ({"job": JOB, **_ORDERS},)
    ),
    Example("FlowStoneApprovalWaiting", (_ASKED, *_both(d.CHECKPOINT_DEADLINE, "4200x90", **_ORDERS)), 39),
    Example(
        "FlowStoneApprovalWaiting",
        (_ASKED, _seen(d.CHECKPOINT_DEADLINE, "4200x70 7800x90", **_ORDERS)),
        75,
        ({"job": JOB, **_ORDERS},),
    ),
    Example("FlowStoneApprovalWaiting", (_seen(d.CHECKPOINT_PENDING, "0x90", **_ORDERS),), 41),
    *_counted("FlowStoneApprovalExpired", d.CHECKPOINTS, _FIRST, _OLD, _ORDERS, **_ORDERS, outcome="expired"),
    Example("FlowStoneApprovalExpired", (_up(60), _seen(d.CHECKPOINTS, _FIRST, **_ORDERS, outcome="rejected")), 42),
    *_counted("FlowStoneApprovalRefused", d.CHECKPOINT_REFUSED, "_x39 11x20", "_x39 10x20", _REFUSED, **_REFUSED),
    *_counted("FlowStoneControlWeakened", d.CONTROLS_WEAKENED, _FIRST, _OLD, _CONTROL, **_CONTROL),
)
_SEEN = _seen(m.AUDIT_ENTRIES, "5x2000")
_SINK = {"sink": "state"}
_AUDIT = (
    Example("FlowStoneAuditTampered", _both(m.AUDIT_FINDINGS, "0x9 1x5"), 12, ({"job": JOB},)),
    Example("FlowStoneAuditTampered", _both(m.AUDIT_FINDINGS, "0x20"), 12),
    Example("FlowStoneAuditNotVerified", (_SEEN, *_both(m.AUDIT_LAST_VERIFY, "60x2000")), 1570, ({"job": JOB},)),
    Example("FlowStoneAuditNotVerified", (_SEEN, _seen(m.AUDIT_LAST_VERIFY, "60x1000 50000x1000")), 1570),
    Example("FlowStoneAuditNotVerified", (_SEEN,), 1570, ({"job": JOB},)),
    Example("FlowStoneAuditNotVerified", (_SEEN,), 1550),
    Example("FlowStoneAuditUnsealed", (*_both(m.AUDIT_UNSEALED, "0x9 3x60"), _seen(m.AUDIT_LAST_SEAL, "540x70")), 40,
            ({"job": JOB},)),
    Example("FlowStoneAuditUnsealed", _both(m.AUDIT_UNSEALED, "3x60"), 40, ({"job": JOB},)),
    # Something waits whenever one looks, and is sealed every minute.
    Example("FlowStoneAuditUnsealed", (*_both(m.AUDIT_UNSEALED, "3x60"), _seen(m.AUDIT_LAST_SEAL, "0+60x60")), 40),
    Example("FlowStoneAuditAnchorBehind",
            (*_both(m.AUDIT_UNANCHORED, "2x90", **_SINK), _seen(m.AUDIT_LAST_ANCHOR, "0x90", **_SINK)), 61,
            ({"job": JOB, **_SINK},)),
    Example("FlowStoneAuditAnchorBehind", _both(m.AUDIT_UNANCHORED, "2x90", **_SINK), 40, ({"job": JOB, **_SINK},)),
    Example("FlowStoneAuditAnchorBehind",
            (*_both(m.AUDIT_UNANCHORED, "2x90", **_SINK), _seen(m.AUDIT_LAST_ANCHOR, "0+60x90", **_SINK)), 61),
    Example("FlowStoneAuditUnavailable", (_seen(UNAUDITED, "0x3 1x9"),), 6, ({"job": JOB, "instance": A},)),
    Example("FlowStoneAuditUnavailable", (_seen(UNAUDITED, "0x9"),), 6),
)  # fmt: skip
_TELEMETRY = (
    *_counted("FlowStoneTelemetryLost", m.TELEMETRY_LOST, _FIRST, _OLD, _LOSS, **_LOSS),
    Example("FlowStoneHandlerQuarantined", (_seen(QUARANTINED, "1x20", handler="acme.mail"),), 10,
            ({"job": JOB, "instance": A, "handler": "acme.mail"},)),
    Example("FlowStoneHandlerQuarantined", (_seen(QUARANTINED, "1x3 0x20", handler="acme.mail"),), 10),
    *_counted("FlowStoneNotificationFailed", m.NOTIFICATIONS, _FIRST, _OLD, {"channel": "ops"}, channel="ops", outcome="failed"),
    *_counted("FlowStoneSeriesOverflow", m.OVERFLOW_TOTAL, _FIRST, _OLD, {"metric": "acme_total"}, metric="acme_total"),
)  # fmt: skip
EXAMPLES: tuple[Example, ...] = (
    *_PRESENT, *_RUNS, *_ASSETS, *_STORAGE, *_APPROVALS, *_AUDIT, *_TELEMETRY,
)  # fmt: skip
