"""``flowstone audit``: who did what, and the proof of it."""

from __future__ import annotations

import click

from flowstone.cli.audit_changes import anchors, keys, prune, redact, reincarnate, seal
from flowstone.cli.audit_files import export, prove, sample, verify_export, verify_proof
from flowstone.cli.audit_questions import head, list_, show
from flowstone.cli.audit_verify import verify


@click.group()
def audit() -> None:
    """Read the audit log, verify it, and hand out proofs of what is in it."""


for command in (
    list_, show, head, verify, prove, export, sample, verify_export, verify_proof,
    seal, keys, anchors, prune, redact, reincarnate,
):  # fmt: skip
    audit.add_command(command)
