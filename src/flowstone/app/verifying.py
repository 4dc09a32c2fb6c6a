"""Verifying everything a project has: the log, its anchors, the records it tells of, and the bytes of current outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from flowstone.app.copies import check_bytes, given_up
from flowstone.app.wiring import Deployment
from flowstone.audit.anchoring import AnchorsRead
from flowstone.audit.anchors import DEFAULT, AnchorFile, sinks
from flowstone.audit.fold import Fold
from flowstone.audit.inspection import Checked, Reader, Readers
from flowstone.audit.known import KnownLogs
from flowstone.audit.note import PublicKey, public_key
from flowstone.audit.offline import tree_head_of, verify_export
from flowstone.audit.origins import permanent
from flowstone.audit.promises import Anchored
from flowstone.audit.reconciliation import reconcile
from flowstone.audit.signatures import SignatureCheck
from flowstone.audit.state import PinnedKey, State, state_of
from flowstone.audit.verification import check_log
from flowstone.events.catalogue import AuditVerified
from flowstone.execution.run import Actor
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import DatabaseError, NotFoundError, SettingsError
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.stores import audit, backups
from flowstone.stores.database import Connection

REMEMBERED = "in the user's state folder, which remembers the newest head,"

ELSEWHERE = ("its lines are with whoever collects the logs", "it is on the machine, and of the user, that seals the log")


@dataclass
class VerifyReport:
    """What was found, and what was looked at; ``not_checked`` is always said."""

    checked: Checked
    keys: list[PinnedKey]
    pinned: bool
    """Whether the keys are those this user has pinned, and not given for this once."""
    records: dict[str, int] = field(default_factory=dict)
    """Records that were compared with their entries, by kind."""
    hashed: int = 0
    wrong_bytes: int = 0
    anchors: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    decisions: int = 0
    """Decisions whose signature fits their entry and is of a listed key of who decided."""
    seconds: float = 0.0


class Asked(NamedTuple):
    """What the verifier gives and wants: more files of anchors, keys instead of those pinned, archives, and how much.

    *reconcile*: compare records with the log; *hashed*: and hash the bytes of current outputs. *signers*: a file of allowed
    signers, instead of the one that is set.
    """

    anchors: Sequence[str | Path] = ()
    keys: Sequence[str] = ()
    archives: Sequence[str | Path] = ()
    reconcile: bool = True
    hashed: bool = True
    signers: str | Path | None = None


EVERYTHING = Asked()


class Outside(NamedTuple):
    """What lies outside the database of its log: *remembered* is the newest head, *anchors* what they had kept.

    It is noted before the snapshot is begun that it is compared with: a keeper commits first, and remembers and anchors after
    that. Keys are the other way round, pinned before they sign: they are read once the snapshot is begun.
    """

    origin: str
    state: State
    remembered: str | None
    anchors: AnchorsRead


def outside(deployment: Deployment, asked: Asked = EVERYTHING) -> Outside:
    """What this user keeps of the log that the database has, as far as he knows; raises :class:`NotFoundError` without one."""
    database, settings = deployment.reading(), deployment.settings.audit
    origin = KnownLogs(settings.state).origin(database.backend.describe)
    if origin is None:
        with database.reading() as connection:
            origin = origin_of(connection)
    state = state_of(permanent(origin), folder=settings.state)
    files = [AnchorFile(path, str(path)) for given in asked.anchors for path in _files(Path(given))]
    return Outside(origin, state, state.head(), AnchorsRead(origin, sinks(settings.anchors, state), files))


def origin_of(connection: Connection) -> str:
    """The origin of the log's newest tree heads, as the database has it; raises :class:`NotFoundError` where there is none."""
    found = audit.incarnations(connection)
    if not found:
        raise NotFoundError("there is no audit log yet", hint="it begins with the first run")
    return found[-1][1]


def verify(deployment: Deployment, connection: Connection, kept: Outside, asked: Asked = EVERYTHING) -> VerifyReport:
    """Verify the log with the keys asked for, else with those that this user has pinned."""
    begun, now = deployment.clock.monotonic_ns(), deployment.reading().now()
    anchored = _anchored(kept, connection)  # the snapshot is begun
    pins = [PinnedKey(public_key(text), 0, None) for text in asked.keys] if asked.keys else kept.state.pinned()
    fold = Fold(connection)
    with closing(fold):
        signers, unread = _signers(deployment, asked)
        signatures = SignatureCheck(signers)
        reader = Readers(fold, signatures) if asked.reconcile else signatures
        archives = Archives(kept.origin, [pin.key for pin in pins], reader)
        archived = archives.read(asked.archives)
        checked = check_log(connection, kept.origin, pins, anchored, now=now, archived_below=archived, reader=reader)
        report = VerifyReport(checked, pins, pinned=not asked.keys)
        if asked.reconcile:
            report.records = reconcile(
                connection, fold, checked, max(0, checked.pruned_below - archived), deployment.settings.project
            )
            if asked.hashed:
                _check_bytes(deployment, connection, report)
        else:
            report.not_checked.append("records and stored bytes were not compared (--no-reconcile)")
    report.not_checked += [*unread, *signatures.end(checked)]
    report.decisions = signatures.valid
    for fault in archives.faults:
        checked.find("archive", fault)
    _tell_of_anchors(report, kept.anchors)
    report.seconds = (deployment.clock.monotonic_ns() - begun) / 1e9
    return report


class Archives:
    """Reads the archives of pruned entries, in order."""

    def __init__(self, origin: str, keys: Sequence[PublicKey], reader: Reader) -> None:
        self._origin, self._keys, self._reader = origin, keys, reader
        self.faults: list[str] = []

    def read(self, paths: Sequence[str | Path]) -> int:
        """Verify them; return up to where entries from the first one on are proven."""
        proven = 0
        for path in paths:
            head = tree_head_of(path)
            report = verify_export(path, head.origin if head else self._origin, self._keys, begin=proven, reader=self._reader)
            if head is not None and permanent(head.origin) != permanent(self._origin):
                self.faults.append(f"{path} is of the log {head.origin}")
            self.faults += [f"{path}: {finding.message}" for finding in report.findings]
            if not report.told and report.begin <= proven:
                proven = max(proven, report.end)
        return proven


def _signers(deployment: Deployment, asked: Asked) -> tuple[Signers | None, list[str]]:
    """Whose keys sign decisions, and why that is not known where the file that is set cannot be read."""
    if asked.signers is not None:
        return Signers.read(Path(asked.signers)), []
    path = deployment.settings.approvals.allowed_signers
    try:
        return (Signers.read(path) if path is not None else None), []
    except SettingsError as error:
        return None, [error.message]


def record_result(deployment: Deployment, report: VerifyReport, actor: Actor) -> None:
    """Let the result be an event; where that cannot be written, the report says so."""
    checked = report.checked
    try:
        with deployment.reading().transaction() as tx:
            tx.emit(
                AuditVerified, verdict=checked.verdict, findings=checked.found, incomplete=len(checked.incomplete),
                entries=checked.entries, duration_ns=round(report.seconds * NANOSECONDS), actor=actor.id, identity=actor.source,
            )  # fmt: skip
    except DatabaseError as error:
        checked.notices.append(f"that it was verified could not be recorded: {error.message}")


def _anchored(kept: Outside, connection: Connection) -> Iterator[Anchored]:
    remembered = [Anchored(REMEMBERED, kept.remembered)] if kept.remembered is not None else []
    return chain(remembered, kept.anchors.heads(connection))


def _tell_of_anchors(report: VerifyReport, anchors: AnchorsRead) -> None:
    for fault in anchors.faults:
        report.checked.find("anchor", fault, todo="compare it with the other anchors: an honest file is only added to")
    for missing in anchors.missing:
        report.checked.lacks(missing)
    report.checked.notices += anchors.notices
    report.anchors = anchors.read
    report.not_checked += [f"the anchor {name}: {ELSEWHERE[name == DEFAULT]}" for name in anchors.elsewhere]


def _files(given: Path) -> list[Path]:
    """The file, or the files of anchors in a folder."""
    return sorted(given.glob("*.anchors")) if given.is_dir() else [given]


def _check_bytes(deployment: Deployment, connection: Connection, report: VerifyReport) -> None:
    """Hash the bytes of every current output of the project that is a file; where others keep theirs is not known here."""
    stored = list(backups.stored(connection, current_only=True))
    current = [output for output in stored if output.project == deployment.settings.project]
    files = [output for output in current if output.manager == "files"]
    differing = dict(check_bytes(files, deployment.settings.outputs.path))
    for id in given_up(deployment.reading(), differing):  # since the snapshot was begun
        del differing[id]
    report.hashed, report.wrong_bytes = len(files), len(differing)
    for wrong in differing.values():
        report.checked.find("bytes", f"stored bytes: {wrong}", todo="restore the file from a backup, or compute it again")
    elsewhere = sum(1 for output in current if output.manager not in ("files", "observed"))
    if elsewhere:
        report.not_checked.append(f"the bytes of {elsewhere} current outputs that are not files")
    if len(stored) > len(current):
        report.not_checked.append(f"the bytes of {len(stored) - len(current)} current outputs of other projects")
