"""The audit log as users have it: asked, verified, given out, sealed, and what little may be changed of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flowstone.app import sampling
from flowstone.app.approving import Approvals
from flowstone.app.audit_views import EntryView, HeadView, Printed, head_view, views
from flowstone.app.evidence import parts
from flowstone.app.holding import said
from flowstone.app.observing import Observing
from flowstone.app.sealing import keeper_of
from flowstone.app.verifying import Asked, VerifyReport, origin_of, outside, record_result, verify
from flowstone.app.wiring import Deployment
from flowstone.assets.pipeline import Pipeline
from flowstone.audit import pruning, redaction, rotation
from flowstone.audit.anchoring import Anchoring
from flowstone.audit.anchors import sinks
from flowstone.audit.bundles import bundle
from flowstone.audit.export import Range, export_chosen, export_range, proofs_of
from flowstone.audit.keeper import Keeper
from flowstone.audit.known import KnownLogs
from flowstone.audit.origins import permanent
from flowstone.audit.sealing import Sealed
from flowstone.audit.state import PinnedKey, State, state_of
from flowstone.execution.run import Actor
from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.stores import audit, audit_questions
from flowstone.stores.audit_questions import Wanted
from flowstone.stores.database import Connection

FOLLOW_SECONDS = 0.5
FIRST = Range()
ANY = Wanted()


class AuditLog:
    """The audit log of the database. Entries are numbered from 0 by their place in it; times are in nanoseconds."""

    def __init__(self, deployment: Deployment, actor: Actor) -> None:
        self._deployment, self._actor, self._known = deployment, actor, KnownLogs(deployment.settings.audit.state)

    # -- asking ---------------------------------------------------------------------------------------------------------

    def entries(self, wanted: Wanted = ANY, *, before: int | None = None, limit: int = 50) -> list[EntryView]:
        """At most *limit* entries that are as *wanted*, newest first; with *before* those at smaller places."""
        with self._reading() as connection:
            return views(connection, audit_questions.newest(connection, wanted, below=before, limit=limit))

    def follow(self, wanted: Wanted = ANY, *, after: int | None = None, idle: Callable[[], object] = bool) -> Iterator[EntryView]:
        """Yield entries as they are sealed, from now or after a place, none missed; it does not end by itself."""
        with self._reading() as connection:
            head = audit.last_head(connection)
        begin = after + 1 if after is not None else head.size if head else 0
        while True:
            with self._reading() as connection:
                found = views(connection, audit_questions.matching(connection, wanted, begin=begin, limit=1_000))
            yield from found
            if found:
                begin = (found[-1].seq or 0) + 1
            else:
                idle()
                self._deployment.clock.sleep(FOLLOW_SECONDS)

    def show(self, seq: int) -> EntryView:
        """The entry at that place."""
        with self._reading() as connection:
            row = audit_questions.at(connection, seq)
            if row is None:
                raise NotFoundError(f"the audit log has no entry {seq}", hint="flowstone audit list")
            return views(connection, [row])[0]

    def head(self, size: int | None = None) -> HeadView:
        """The newest tree head, or the smallest one with *size* entries; what is not sealed, and what anchors have."""
        with self._reading() as connection:
            return head_view(connection, proofs_of(connection, size), [sink.name for sink in self._sinks(connection)])

    def pinned_keys(self) -> list[PinnedKey]:
        """The keys that this user trusts for the log, oldest first."""
        with self._reading() as connection:
            return self._state(origin_of(connection)).pinned()

    def verify(
        self,
        *,
        reconcile: bool = True,
        anchors: Sequence[str | Path] = (),
        keys: Sequence[str] = (),
        archives: Sequence[str | Path] = (),
        signers: str | Path | None = None,
        record: bool = True,
    ) -> VerifyReport:
        """Verify the log, its records (unless not to *reconcile*), and the bytes of current outputs.

        *anchors* are more files to compare with; *keys* are trusted instead of those this user has pinned; *archives* hold the
        entries that were pruned, from the first one on; *signers* is a file of allowed signers, instead of the one that is set.
        *record*: the result becomes an event, for metrics and the doctor.
        """
        asked = Asked(anchors, keys, archives, reconcile, signers=signers)
        kept = outside(self._deployment, asked)
        with self._reading() as connection:
            report = verify(self._deployment, connection, kept, asked)
        if record:
            record_result(self._deployment, report, self._actor)
        return report

    # -- giving out -----------------------------------------------------------------------------------------------------

    def prove(self, seq: int) -> str:
        """The proof that the entry at that place is in the log, as ``verify-proof`` and others take it."""
        with self._reading() as connection:
            proofs, row = proofs_of(connection), audit_questions.at(connection, seq)
            if row is None:
                raise NotFoundError(f"the audit log has no sealed entry {seq}", hint="flowstone audit seal")
            leaf = bytes(row.leaf) if row.leaf is not None else b""
            return proofs.of_entry(seq, bytes(row.leaf_hash or b""), leaf).text()

    def prove_consistency(self, old: int) -> list[bytes]:
        """The hashes that show that the first *old* entries are the beginning of the newest tree head's."""
        with self._reading() as connection:
            return proofs_of(connection).consistency(old)

    def export(self, path: str | Path, *, asked: Range = FIRST, wanted: Wanted | None = None, withheld: bool = False) -> Printed:
        """Write the entries of a range to *path*, or only those as *wanted* with their proofs; *withheld*: nothing disclosed."""
        with self._reading() as connection:
            lines = (
                export_range(connection, asked, withheld=withheld)
                if wanted is None
                else export_chosen(connection, wanted, asked, withheld=withheld)
            )
            return self._write(lines, Path(path))

    def evidence(self, run_id: str, path: str | Path) -> Printed:
        """Write everything that is recorded of a run, and the entries that prove it, into one signed file."""
        with self._reading() as connection:
            origin = origin_of(connection)
            signer = self._state(origin).key(permanent(origin), create=False)
            lines = bundle(origin, parts(self._deployment, connection, run_id), signer)
            return self._write(lines, Path(path))

    def sample(self, asset: str, folder: str | Path, *, count: int, seed: str, wanted: Wanted = ANY) -> sampling.Sample:
        """Write the evidence of *count* of an asset's outputs to *folder*; who knows the *seed* chooses the same ones."""
        with self._reading() as connection:
            chosen = sampling.choose(connection, self._deployment.settings.project, asset, count, seed, wanted)
        return sampling.write(chosen, Path(folder), self.evidence)

    # -- changing -------------------------------------------------------------------------------------------------------

    def seal(self) -> tuple[list[Sealed], list[Anchoring]]:
        """Seal what is not sealed, and give the newest tree head to the anchors that do not have it."""
        return self._keeper().seal()

    def rotate_key(self, *, reason: str) -> rotation.Rotated:
        """Put a new key in the place of the one there is: one tree head is signed by both."""
        return rotation.rotate(self._keeper(), said(reason))

    def reincarnate(self, *, reason: str) -> Sealed:
        """Go on after a restore that was meant, or with a new database in an old one's place.

        Raises :class:`UsageError` where nothing was set back.
        """
        with self._reading() as connection:
            there = permanent(origin_of(connection))
        known = self._known.origin(self._place())
        if known is None or known == there:
            return rotation.reincarnate(self._keeper(), said(reason))
        sealed = rotation.take_over(self._keeper_of(there), known, said(reason))
        self._known.remember(self._place(), there)
        return sealed

    def redact(self, seq: int, fields: Sequence[str] = (), *, reason: str) -> redaction.Redacted:
        """Delete what an entry discloses as *fields* (none: as all of them); that it was done is told by another entry."""
        return redaction.redact(self._keeper(), seq, tuple(fields), said(reason))

    def prune(self, archive: str | Path, *, before: int | None = None) -> pruning.Pruned:
        """Put entries older than *before* into a new file, verify it, and delete their bytes; their proofs stay."""
        keeper = self._keeper()
        keeper.seal()
        trusted = [pin.key for pin in keeper.sealer.state.pinned() if pin.until is None]
        return pruning.prune(keeper, Path(archive), trusted, before)

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _reading(self) -> Any:
        return self._deployment.reading().reading()

    def _keeper(self) -> Keeper:
        """The keeper of the log that this user knows the database to have; raises :class:`NotFoundError` where there is none."""
        place = self._place()
        with self._reading() as connection:
            there = permanent(origin_of(connection))
        origin = self._known.origin(place)
        if origin is None and not self._deployment.reading().backend.in_memory:
            self._known.remember(place, there)
        return self._keeper_of(origin or there)

    def _keeper_of(self, origin: str) -> Keeper:
        return keeper_of(self._deployment.settings, self._deployment.existing().database, origin, self._actor.who)

    @staticmethod
    def _write(lines: Iterator[bytes], path: Path) -> Printed:
        """Write lines to a new file, whole or not at all."""
        part, size = path.with_name(f"{path.name}.{os.getpid()}.part"), 0
        digest = hashlib.sha256()
        try:
            with part.open("xb") as file:
                for line in lines:
                    digest.update(line)
                    size += file.write(line)
            if path.exists():
                raise UsageError(f"{path} exists", hint="choose another file")
            part.replace(path)
        except OSError as error:
            raise UsageError(f"{error.filename or path}: {error.strerror}", hint="choose another place") from error
        finally:
            part.unlink(missing_ok=True)
        return Printed(path=str(path), bytes=size, digest=digest.hexdigest())

    def _place(self) -> str:
        return self._deployment.reading().backend.describe

    def _sinks(self, connection: Connection) -> Any:
        return sinks(self._deployment.settings.audit.anchors, self._state(origin_of(connection)))

    def _state(self, origin: str) -> State:
        return state_of(permanent(origin), folder=self._deployment.settings.audit.state)


class Auditing(Observing):
    """What can be observed of :class:`FlowStone`, its audit log, and what people are asked."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None, actor: Actor) -> None:
        super().__init__(deployment, pipeline)
        self._actor = actor
        self.audit = AuditLog(deployment, actor)
        self.approvals = Approvals(deployment, actor)
