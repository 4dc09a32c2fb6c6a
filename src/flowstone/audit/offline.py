"""Verifying an export or a proof: with the file, the log's origin and its key, and nothing else. In one pass and little memory.

Whose log it is and which keys are trusted come from who verifies, never from the file. Every limit is on what is read, so that a
hostile file costs no more than its own length.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flowstone.audit import leaf as leaves
from flowstone.audit.export_reader import ExportReader, Reader, UnreadableError, lines_of
from flowstone.audit.lines import MAX_LINE, Trailer, read_line
from flowstone.audit.note import PublicKey, TreeHead, parse, tree_head
from flowstone.audit.offline_report import OfflineReport, head_of
from flowstone.audit.origins import permanent
from flowstone.audit.signatures import SignatureCheck
from flowstone.audit.tlog_proof import MAX_TEXT, inclusion_proof_of
from flowstone.audit.tree import hash_leaf, verify_inclusion
from flowstone.foundation.errors import LeafError, NotFoundError, ProofError
from flowstone.foundation.signatures.allowed_signers import Signers


def verify_export(
    path: str | Path,
    origin: str,
    keys: Sequence[PublicKey],
    *,
    begin: int = 0,
    end: int | None = None,
    reader: Reader | None = None,
    signers: Signers | None = None,
) -> OfflineReport:
    """Verify the export in *path*, of which entries *begin* to *end* are expected (default: all that its tree head has).

    *reader* takes the entries that are good, and does then what is done here without one: signatures of decisions are checked, as
    being of *signers*.
    """
    report, signatures = OfflineReport(origin=origin), SignatureCheck(signers)
    try:
        with Path(path).open("rb") as file, suppress(UnreadableError):
            ExportReader(report, lines_of(report, file), keys, reader or signatures).read()
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}", hint="give the file that flowstone audit export wrote") from error
    if not report.told:
        _check_expected(report, begin, end)
    _take_signatures(report, signatures)
    return report


def verify_proof(
    text: str, origin: str, keys: Sequence[PublicKey], entry: bytes | None = None, *, signers: Signers | None = None
) -> OfflineReport:
    """Verify that *entry* (default: the bytes the proof carries) is in the log *origin*; a decision is of one of *signers*."""
    report = OfflineReport(origin=origin)
    try:
        proof = inclusion_proof_of(text[: MAX_TEXT + 1])
        leaf = proof.extra if entry is None else entry
        report.begin, report.end, report.note = proof.seq, proof.seq + 1, proof.note
        head = head_of(report, proof.note, keys)
        report.size = head.size
        if not leaf:
            report.lacks("the proof carries no entry and none was given: nothing says what it proves")
            return report
        verify_inclusion(hash_leaf(leaf), proof.seq, head.size, proof.hashes, head.root)
        report.entries, report.fields = 1, leaves.read(leaf)
        if report.fields["origin"] != permanent(origin):
            report.find("foreign", f"the entry is of the log {report.fields['origin'][:100]!r}")
        signatures = SignatureCheck(signers)
        signatures.take(proof.seq, leaf, report.fields, {})
        _take_signatures(report, signatures)
    except (ProofError, LeafError) as error:
        report.find("proof", error.message, todo=error.hint or "what is signed is the tree head of the proof")
    return report


def _take_signatures(report: OfflineReport, signatures: SignatureCheck) -> None:
    report.not_checked += signatures.end(report)
    report.decisions = signatures.valid


def tree_head_of(path: str | Path) -> TreeHead | None:
    """The tree head at the end of an export, not verified; ``None`` when there is none."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_LINE))
            last = file.read().removesuffix(b"\n").rpartition(b"\n")[2]
        note = read_line(Trailer, last, "the last line").head
        return tree_head(parse(note).text if "\n\n" in note else note)
    except (OSError, ProofError):
        return None


def _check_expected(report: OfflineReport, begin: int, end: int | None) -> None:
    """Say which entries were expected and are not there."""
    if report.chosen:
        report.lacks(f"these are chosen entries ({report.chosen[:200]}): that no other one fits is not proven")
        return
    expected = report.size if end is None else end
    if report.begin > begin:
        report.lacks(f"entries {begin}-{report.begin - 1} are not in this file")
    if report.end < expected:
        report.lacks(f"entries {report.end}-{expected - 1} are not in this file")
