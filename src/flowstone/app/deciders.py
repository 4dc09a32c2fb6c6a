"""Who may decide, by the settings and by the file of allowed signers: told in the log when it is another than the log says.

What a setting lets through is as good a way round a gate as its code. Entries name nobody: of names there are marks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flowstone.audit import acts, approval_acts, leaf
from flowstone.audit.recorder import Recorder, Who
from flowstone.events.catalogue import ControlWeakened
from flowstone.foundation.errors import SettingsError
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.serialize import digest_of, from_json, to_json
from flowstone.foundation.setting_groups import AuditSettings
from flowstone.foundation.settings import Settings
from flowstone.foundation.signatures.allowed_signers import MAX_FILE, Signers
from flowstone.stores import audit, audit_questions
from flowstone.stores.audit_questions import Wanted
from flowstone.stores.database import Connection, Database, Transaction

MARKED = 500
"""Names of which an entry has marks; of more it has one for all of them."""
_MARK = 12
Marks = dict[str, Any]


def weakened(tx: Transaction, recorder: Recorder, control: str, was: str, now: str, who: Who, at: int) -> None:
    """Tell that something set protects less than it did."""
    recorder.tell(tx, acts.control_weakened(control, {"was": was, "now": now}), who, at)
    tx.emit(ControlWeakened, at=at, control=control, was=was, now=now, actor=who.actor, identity=who.identity)


# -- settings --------------------------------------------------------------------------------------------------------------------


def compare_rules(settings: Settings, database: Database, recorder: Recorder, who: Who) -> None:
    """Tell of settings that let other people decide than before; the first ones are compared with what is set by default."""
    after = _marks(settings.approvals, settings.audit)
    with database.reading() as connection:
        found = audit.newest_leaf(connection, settings.project, approval_acts.RULES)
    before = leaf.read(found)["data"]["after"] if found is not None else _marks(ApprovalSettings(), AuditSettings())
    if before == after:
        return
    chosen = settings.approvals
    said = {"groups": chosen.groups, "machines": chosen.machines}
    with database.transaction() as tx:
        now = database.now()
        recorder.tell(tx, approval_acts.rules_changed(after, to_json(said)), who, now)
        for control, was, less in _less(before, after, chosen.groups):
            weakened(tx, recorder, control, was, less, who, now)


def _marks(approvals: ApprovalSettings, audit: AuditSettings) -> Marks:
    members = [f"{group}\0{name}" for group, names in approvals.groups.items() for name in ("", *names)]
    return {
        "allow_asserted": approvals.allow_asserted, "require_for_weakening": audit.require_approval_for_weakening,
        "groups": _marked(members), "machines": _marked(approvals.machines),
    }  # fmt: skip


def _marked(names: Iterable[str]) -> list[str]:
    found = sorted({_mark(name) for name in names})
    return found if len(found) <= MARKED else [digest_of(found)]


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:_MARK]


def _less(before: Marks, after: Marks, groups: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str, str]]:
    """What protects less: the control, what it was, and what it is."""
    if after["allow_asserted"] and not before["allow_asserted"]:
        yield "approvals.allow_asserted", "false", "true"
    if before["require_for_weakening"] and not after["require_for_weakening"]:
        yield "audit.require_approval_for_weakening", "true", "false"
    had, are_many = set(before["groups"]), any(len(mark) > _MARK for mark in (*before["groups"], *after["groups"]))
    for group, names in groups.items():
        added = [name for name in names if _mark(f"{group}\0{name}") not in had]
        if not are_many and added and _mark(f"{group}\0") in had:
            yield "approvals.groups", f"group {group}", f"group {group} with {len(added)} more: {', '.join(added[:5])}"
    if are_many and before["groups"] != after["groups"]:
        yield "approvals.groups", "groups", "other groups"
    gone = set(before["machines"]) - set(after["machines"])
    if gone:
        yield "approvals.machines", f"{len(before['machines'])} names", f"{len(gone)} of them not any more"


# -- keys ------------------------------------------------------------------------------------------------------------------------


def compare_signers(path: Path | None, project: str, database: Database, recorder: Recorder, who: Who) -> None:
    """Tell whose keys have come and gone since the file of allowed signers was last used; one that cannot be read is not used."""
    if path is None or not recorder.is_on:
        return
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        after = hashlib.sha256(data).hexdigest()
        with database.reading() as connection:
            found = audit.newest_leaf(connection, project, approval_acts.SIGNERS)
            before = leaf.read(found)["data"]["after"] if found is not None else ""
            if before == after:
                return
            known = _listed(connection, project)
        now_listed = set(Signers.parse(data.decode(), str(path)).pairs())
    except (OSError, UnicodeDecodeError, SettingsError):  # who signs is told
        return
    with database.transaction() as tx:
        added, removed = sorted(now_listed - known), sorted(known - now_listed)
        recorder.tell(tx, approval_acts.signers_changed(before, after, added, removed), who, database.now())


def _listed(connection: Connection, project: str) -> set[tuple[str, str]]:
    """The names and fingerprints that the log says were listed last."""
    wanted = Wanted(project=project, subject=approval_acts.SIGNERS)
    rows = audit_questions.newest(connection, wanted, below=None, limit=10_000)
    disclosed, listed = audit_questions.disclosed(connection, rows), set[tuple[str, str]]()
    for row in reversed(rows):
        changes = from_json(disclosed.get(row.id, {}).get("changes", (b"", "{}"))[1])
        listed |= {(name, key) for name, key in changes.get("added", ())}
        listed -= {(name, key) for name, key in changes.get("removed", ())}
    return listed
