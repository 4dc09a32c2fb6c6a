"""``flowstone approvals show``: everything to decide upon, in the order in which people ask."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from flowstone.app.approval_outlook import You
from flowstone.app.approval_preview import Preview
from flowstone.app.approval_views import ApprovalView, Input
from flowstone.cli.approval_words import about, ended, plain_request, rules, said, voter
from flowstone.cli.approvals_next import Field, following
from flowstone.cli.lines import iso, moment, place, plain_of, quoted, say, who
from flowstone.cli.words import ago, counted, origin
from flowstone.execution.decision import short
from flowstone.foundation.serialize import to_json
from flowstone.observability.logs.shape import one_line
from flowstone.stores.records import ApprovalRecord, OutputRecord, VoteRecord

WIDTH, NAMES = 100, 21
_BYTES = {
    "match": "checked now: the stored bytes still have this digest",
    "changed": "CHANGED: the stored bytes are not those that were asked about; deciding makes the request void",
    "gone": "GONE: the stored bytes are not there any more",
    "unreachable": "not checked: this machine cannot see them; the digest and what is below were stored with the request",
}
_KNOWN = {"asserted": "none: they only said who they are", "os": "none but that the operating system knows them"}
_SEEN_BYTES = {"match": "hashed again, and the same", "unreachable": "not to be seen from that machine"}


def say_view(view: ApprovalView) -> None:
    """Print the request, and the commands that are next."""
    _say_head(view)
    say()
    _say_fields([*_what(view), *_made_from(view)])
    _say_changes(view)
    if view.now is None:
        _say_then(view)
        say("Only what was stored when people were asked and decided. How things stand now:")
        say(f"  flowstone approvals show {view.request.id}")
        return
    if view.request.status == "pending":
        say()
        _say_fields(following(view, view.now))
        say()
        for line in commands(view.request, view.now.you):
            say(f"  {line}")
    elif view.votes:
        say()
        say(f"What was known then: flowstone approvals show {view.request.id} --as-decided")


def say_preview(preview: Preview) -> None:
    """Print the beginning of the value, as it is shown to whoever decides."""
    say()
    say(f"Preview{f' ({preview.note})' if preview.note else ''}")
    for line in preview.lines:
        say(f"  {line}")
    if preview.digest:
        say(f"  -- sha256 {preview.digest} of what is shown here")


def commands(asked: ApprovalRecord, you: You | None) -> list[str]:
    """How to decide, for somebody who may."""
    if you is None or not you.may:
        return []
    more = f" --as {quoted(you.name)}" if you.identity == "asserted" else ""
    more += " --sign KEY" if you.must_sign else ""
    return [f'flowstone approvals {verb} {asked.id}{more} -m "why"' for verb in ("approve", "reject")]


# -- who is asked, and what about ---------------------------------------------------------------------------------------


def _say_head(view: ApprovalView) -> None:
    asked, policy = view.request, view.policy
    indent = " " * (len(asked.id) + 2)
    if asked.status != "pending" or view.now is None:
        _wrap(
            f"{asked.id}  {ended(asked, view.votes) if asked.status != 'pending' else 'asked ' + moment(asked.requested_at)}",
            indent,
        )
    else:
        _wrap(f"{asked.id}  waiting for {policy.asked} ({rules(policy, view.needed)})", indent)
        then = {"fail": "fails", "remind": "people are reminded", "escalate": "others are asked as well", "approve": "APPROVED"}
        after = "fails" if policy.on_timeout == "escalate" and asked.escalated_at else then[policy.on_timeout]
        until = f", expires {moment(asked.deadline)} -> {after}" if asked.deadline else ""
        say(f"{indent}asked {ago(view.now.at - asked.requested_at)}{until}")
    for vote in view.votes:
        _wrap(f"{indent}{said(vote)}", f"{indent}     ")


def _what(view: ApprovalView) -> Iterator[Field]:
    asked, candidate, facts = view.request, view.candidate, view.request.facts
    yield "You are approving" if asked.status == "pending" else "About", f"{about(asked)}, of pipeline {asked.pipeline}"
    message = f': "{facts["message"]}"' if facts.get("message") else ""
    yield "Asked by", f"{who(asked.requester, asked.identity)} through {asked.run_id}{message}"
    if facts.get("context"):
        yield "It says", to_json(facts["context"])
    if facts.get("because"):
        yield "Because", f"it {facts['because']}" if facts["because"].startswith("has ") else str(facts["because"])
    if candidate is not None:
        yield from _bytes(view, candidate)
    elif asked.kind == "before":
        yield "Exactly this", f"nothing is computed yet; what would go into it has the digest {asked.digest}"
    else:
        yield "Exactly this", f"the gate as it would be has the digest {asked.digest}"
        yield from ((name, to_json(value)) for name, value in _weakened(facts))


def _bytes(view: ApprovalView, candidate: OutputRecord) -> Iterator[Field]:
    rows = f"  {counted(candidate.rows, 'row')}" if candidate.rows is not None else ""
    yield "Exactly these bytes", f"sha256 {candidate.digest}"
    yield "", f"{counted(candidate.size, 'byte')}  {candidate.format}{rows}  stored {moment(candidate.created_at)}"
    yield "", f"{candidate.id} version {candidate.version}"
    yield "", f"in {candidate.manager}: {candidate.location}"
    yield "", candidate.summary
    if candidate.schema:
        yield "Schema", candidate.schema
    if view.now is not None and view.request.status == "pending":
        yield "", _BYTES.get(view.now.bytes, view.now.bytes)


def _weakened(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = {"message", "context", "because", "dependants", "dependants_count", "author", "machine"}
    return ((name, value) for name, value in facts.items() if name not in known)


def _made_from(view: ApprovalView) -> Iterator[Field]:
    inputs = [_input(one) for one in view.inputs]
    for i, text in enumerate(inputs):
        yield "Made from" if i == 0 else "", text
    if view.code is not None:
        made_by, python = view.code.provenance, view.code.provenance.get("python")
        environment = f", Python {python}" if python else ""
        config = f", config {short(view.code.config)}" if view.code.config else ""
        text = f"definition {short(view.code.definition)}{config}{environment}"
        yield "" if inputs else "Made from", f"code {text}"
        yield "", origin(made_by)
    if view.request.facts.get("author"):
        yield "", f"commit by {view.request.facts['author']}"


def _input(one: Input) -> str:
    rows = f" ({counted(one.output.rows, 'row')})" if one.output.rows is not None else ""
    behind = ", ".join(_version(upstream) for upstream in one.upstreams)
    return f"{_version(one.output)}{rows}{f' <- {behind}' if behind else ''}"


def _version(output: OutputRecord) -> str:
    return f"{place(output.asset, output.partition)} v{output.version}"


# -- what has changed ---------------------------------------------------------------------------------------------------


def _say_changes(view: ApprovalView) -> None:
    compared, last = view.compared, view.last
    if view.request.kind == "after":
        say()
        if compared is None or compared.base is None:
            say("Changed: nothing of this partition was current, so there is nothing to compare with" if view.request.partition
                else "Changed: nothing was current, so there is nothing to compare with")  # fmt: skip
        else:
            base, by = compared.base, compared.approval
            approved = f"{ended(by)} ({by.id})" if by is not None else "never approved"
            _wrap(f"Changed since version {base.version}, which was current: {approved}", "  ")
            for line in compared.lines or ["? note     the difference was not stored"]:
                say(f"  {line}")
    if last is not None and (compared is None or compared.approval is None or compared.approval.id != last.id):
        _wrap(f"Approved last: {about(last)}, {ended(last)} ({last.id})", "  ")
    now = view.now
    if now is None or view.request.status != "pending":
        return
    for text in now.newer:
        _wrap(f"Newer: {text}", "  ")
    if now.overtaken_by is not None:
        newer = now.overtaken_by
        _wrap(
            f"Newer: version {newer.version} ({newer.id}) is current already; --older makes this one current all the same", "  "
        )


# -- what was known then ------------------------------------------------------------------------------------------------


def _say_then(view: ApprovalView) -> None:
    say()
    if not view.votes:
        say("Nobody has decided." if view.request.status == "pending" else "No person decided.")
    for vote in view.votes:
        _wrap(f"When {voter(vote)} said {'yes' if vote.verdict == 'approve' else 'no'}, {moment(vote.at)}", "  ")
        _say_fields(_seen(vote), indent="  ")
    say()


def _seen(vote: VoteRecord) -> Iterator[Field]:
    seen = vote.seen
    yield "decided upon", f"sha256 {vote.digest}"
    if "bytes" in seen:
        yield "its bytes", _SEEN_BYTES.get(str(seen["bytes"]), str(seen["bytes"]))
    if "shown" in seen:
        yield "the request", "was shown before" if seen["shown"] else "was not shown by the same door before"
    yield "newer then", "; ".join(map(str, seen.get("newer", ()))) or ("nothing" if "newer" in seen else "")
    yield "preview", f"sha256 {seen['preview']}" if seen.get("preview") else "none was looked at"
    yield "proof", f"signed with {vote.key}" if vote.key else _KNOWN.get(vote.identity, vote.identity)
    yield "comment", vote.comment


# -- layout -------------------------------------------------------------------------------------------------------------


def _say_fields(fields: Iterable[Field], indent: str = "") -> None:
    for name, value in fields:
        if value:
            _wrap(f"{indent}{name:<{NAMES - len(indent)}}{value}", " " * NAMES)


def _wrap(text: str, indent: str) -> None:
    """Print a line, on as many as 100 columns need; words are never broken, so that digests and commands can be copied."""
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False, "drop_whitespace": True}
    cleaned = one_line(text)
    if len(cleaned) <= WIDTH:
        say(cleaned)
        return
    for line in textwrap.wrap(cleaned, WIDTH, subsequent_indent=indent, replace_whitespace=False, **options):
        say(line)


# -- for programs -------------------------------------------------------------------------------------------------------


def plain_view(view: ApprovalView) -> dict[str, Any]:
    """The request as plain values, with the same names as in Python."""
    compared, now = view.compared, view.now
    return {
        **plain_request(view.request),
        "needed": view.needed,
        "votes": [plain_of(msgspec.structs.asdict(vote)) for vote in view.votes],
        "candidate": plain_of(view.candidate) if view.candidate else None,
        "inputs": [
            {"parameter": one.parameter, "output": plain_of(one.output), "upstreams": [plain_of(up) for up in one.upstreams]}
            for one in view.inputs
        ],
        "code": msgspec.to_builtins(view.code),
        "compared": {
            "lines": compared.lines, "base": plain_of(compared.base) if compared.base else None,
            "approval": compared.approval.id if compared.approval else None,
        } if compared else None,
        "last": plain_request(view.last) if view.last else None,
        "now": {
            **msgspec.to_builtins(now), "at": iso(now.at),
            "overtaken_by": plain_of(now.overtaken_by) if now.overtaken_by else None,
        } if now else None,
        "preview": msgspec.to_builtins(view.preview),
    }  # fmt: skip
