"""Decisions that a person signs with their SSH key: the exact bytes, signing them here, and taking a signature made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flowstone.audit.signatures import check_ballot
from flowstone.execution.proving import untimely
from flowstone.foundation.errors import SettingsError, SignatureError
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.signatures import statement as statements
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.foundation.signatures.signing import sign_with
from flowstone.foundation.signatures.sshsig import verify
from flowstone.foundation.signatures.statement import NAMESPACE, Statement
from flowstone.stores.records import ApprovalRecord


class Signed(NamedTuple):
    """A signature that was checked: what was signed, the armour, and the fingerprint of the key."""

    statement: Statement
    signature: str
    key: str


def statement(asked: ApprovalRecord, verdict: str, comment: str, actor: str, at: int) -> Statement:
    """What *actor* signs to decide about what is *asked*; *at* is in nanoseconds, and microseconds of it are signed."""
    return Statement(
        approval=asked.id, project=asked.project, asset=asked.asset, partition=asked.partition, verdict=verdict,
        digest=asked.digest, comment=comment, actor=actor, at=at // 1_000,
    )  # fmt: skip


def sign(key: Path, text: Statement) -> str:
    """The armoured signature of the statement by the key in that file, or the one it names in the agent or on a token."""
    return sign_with(key, text.text(), NAMESPACE)


def read(asked: ApprovalRecord, verdict: str, text: bytes) -> Statement:
    """The statement that was signed elsewhere; raises :class:`SignatureError` where it is about anything else than is decided."""
    found = statements.read(text)
    wanted = statement(asked, verdict, found.comment, found.actor, found.at * 1_000)
    for name in Statement.__struct_fields__:
        said, meant = getattr(found, name), getattr(wanted, name)
        if said != meant:
            raise SignatureError(
                f"what was signed says {name} = {said!r}, and {meant!r} is decided",
                hint=f"sign what this prints: flowstone approvals statement {asked.id} {verdict}",
            )
    return found


def checked(chosen: ApprovalSettings, asked: ApprovalRecord, text: Statement, signature: str, now: int) -> Signed:
    """The signature, if it is the actor's own, of this statement, and of now.

    Raises :class:`SignatureError` for any other, and :class:`SettingsError` where nobody's keys are known.
    """
    if chosen.allowed_signers is None:
        raise SettingsError(
            "nobody's keys are known here: approvals.allowed_signers is not set",
            hint='under [approvals]: allowed_signers = "FILE", whose lines are: ann ssh-ed25519 AAAA...',
        )
    at = text.at * 1_000
    told = untimely(asked, at, now)
    if told:
        raise SignatureError(told, hint="sign again; the clocks of the two machines may differ by five minutes")
    key, signers = verify(signature, text.text(), NAMESPACE), Signers.read(chosen.allowed_signers)
    signer = signers.principal_of(key, NAMESPACE, at, text.actor)
    signers.principal_of(key, NAMESPACE, now, text.actor)  # who signs says when: a key that has run out may not say it was before
    check_ballot(text, signature, signer.fingerprint)
    return Signed(text, signature, signer.fingerprint)
