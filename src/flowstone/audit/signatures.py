"""Signatures of decisions, checked against the entries that hold them: by nobody else, of nothing else, with a key that counts.

What was signed is made again from the entry, so that a signature from another request, of another verdict, candidate, comment or
time does not fit. Whose key it is comes from who verifies: a file of allowed signers. The log tells which keys were listed when.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flowstone.audit.approval_acts import SIGNERS_CHANGED
from flowstone.audit.findings import Findings
from flowstone.foundation.errors import SignatureError
from flowstone.foundation.serialize import from_json
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.foundation.signatures.keys import PublicKey
from flowstone.foundation.signatures.sshsig import verify
from flowstone.foundation.signatures.statement import NAMESPACE, Statement

MAX_SIGNATURE = 4_096
"""Characters of a signature that a decision may have: its entry holds it."""
_TODO = "the signature is what counts: ask who is said to have decided"
_SUBJECT = re.compile(r"approval:(.+)")


class SignatureCheck:
    """Takes the entries of a log, of an export or of a proof, and checks the signatures of decisions among them."""

    def __init__(self, signers: Signers | None) -> None:
        self._found, self._signers = Findings(), signers
        self.valid = 0
        """Signatures that fit their entry and are of a listed key of who decided."""
        self._listed: set[tuple[str, str]] = set()
        self._next, self._is_whole = 0, True
        self._unknown: dict[str, int] = {}
        self._unlisted = 0

    def take(self, seq: int | None, leaf: bytes, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:  # noqa: ARG002
        """Take the next entry."""
        if seq is not None:
            self._is_whole, self._next = self._is_whole and seq == self._next, seq + 1
        if fields["action"] == SIGNERS_CHANGED:
            self._note(disclosed)
        vote = fields["data"].get("vote")
        if isinstance(vote, dict) and (vote.get("signature") or vote.get("key")):
            self._check(f"entry {seq}" if seq is not None else "an entry that is not sealed", fields, vote, disclosed)

    def end(self, found: Findings) -> list[str]:
        """Tell of what was found; return what was not checked."""
        for finding in self._found.findings:
            found.find(finding.kind, finding.message, *finding.taints, todo=finding.todo)
        told = []
        if self._unlisted:
            told.append(
                f"whose keys signed {self._unlisted} decisions: no file of allowed signers (approvals.allowed_signers, "
                "--allowed-signers FILE)"
            )
        told += [f"{count} decisions {what}" for what, count in sorted(self._unknown.items())]
        return told

    def _note(self, disclosed: Mapping[str, str]) -> None:
        """Note which keys were listed."""
        try:
            self._listed.update((str(name), str(key)) for name, key in from_json(disclosed["changes"])["added"])
        except (KeyError, TypeError, ValueError):  # redacted, or not disclosed here
            self._is_whole = False

    def _check(self, where: str, fields: Mapping[str, Any], vote: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:
        hidden = fields.get("commit", {}).keys() & {"comment", "partition"} - disclosed.keys()
        if hidden:
            self._skip(
                f"are signed, and their {' and '.join(sorted(hidden))} is redacted, or not here: the signature stays unchecked"
            )
            return
        name = f"approval {fields['data'].get('approval')}"
        try:
            statement = statement_of(fields, vote, disclosed)
            key = verify(str(vote["signature"]), statement.text(), NAMESPACE)
            if key.fingerprint != vote["key"]:
                raise SignatureError(f"it is by the key {key.fingerprint}, the entry says {vote['key']}")
        except SignatureError as error:
            told = f"{where}: the signature of {vote.get('voter')} on {name} does not fit the entry: {error.message}"
            self._found.find("decision", told, fields["subject"], todo=_TODO)
            return
        self._check_signer(where, name, fields["subject"], statement, key)

    def _check_signer(self, where: str, name: str, subject: str, statement: Statement, key: PublicKey) -> None:
        """Compare the key, whose signature it is, with those that are listed, and were."""
        was_listed = (statement.actor, key.fingerprint) in self._listed
        if self._is_whole and not was_listed:
            told = f"{where}: the decision on {name} is signed with {key.fingerprint}, which was never a listed key of"
            self._found.find("decision", f"{told} {statement.actor}", subject, todo=_TODO)
        elif self._signers is None:
            self._unlisted += 1
        elif not self._signers.lists(key, statement.actor):
            if was_listed:
                self._skip("are signed with keys that are not listed any more: that they were then the log alone says")
            else:
                self._skip("are signed with keys that are not listed for who decided")
        else:
            try:
                self._signers.principal_of(key, NAMESPACE, statement.at * 1_000, statement.actor)
            except SignatureError as error:
                self._found.find("decision", f"{where}: the decision on {name}: {error.message}", subject, todo=_TODO)
            else:
                self.valid += 1

    def _skip(self, what: str) -> None:
        self._unknown[what] = self._unknown.get(what, 0) + 1


def statement_of(fields: Mapping[str, Any], vote: Mapping[str, Any], disclosed: Mapping[str, str]) -> Statement:
    """What the *vote* of an entry must have signed; raises :class:`SignatureError` for an entry that says nothing like it."""
    data, subject = fields["data"], _SUBJECT.fullmatch(fields["subject"])
    texts = {
        "approval": subject[1] if subject else None, "project": fields["project"], "asset": data.get("asset"),
        "partition": data.get("partition", disclosed.get("partition", "")), "verdict": vote.get("verdict"),
        "digest": vote.get("digest"), "comment": disclosed.get("comment", ""), "actor": fields["actor"],
    }  # fmt: skip
    at = vote.get("at")
    if not all(isinstance(text, str) for text in texts.values()) or type(at) is not int or vote.get("voter") != fields["actor"]:
        raise SignatureError("the entry does not say who decided what, and when")
    return Statement(**texts, at=at)


def check_ballot(statement: Statement, signature: str, key: str) -> None:
    """Raise :class:`SignatureError` unless the *signature* is of the *statement*, by *key*, and small enough for an entry."""
    if len(signature) > MAX_SIGNATURE:
        raise SignatureError(
            f"the signature has {len(signature):,} characters; {MAX_SIGNATURE:,} fit an audit entry",
            hint="sign with a smaller key: ssh-keygen -t ed25519",
        )
    if verify(signature, statement.text(), NAMESPACE).fingerprint != key:
        raise SignatureError(f"the signature is not by the key {key}")
