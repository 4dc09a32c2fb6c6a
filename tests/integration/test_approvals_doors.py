"""What people are told of a request and what is kept of their decision, on both databases."""

from __future__ import annotations

import json
import time
from pathlib import Path

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_ssh_private_key
from sqlalchemy import update

from flowstone import Approval, ApprovalError, FlowStone, Pipeline, asset
from flowstone.cli.approvals_show import plain_view
from flowstone.foundation.clock import NANOSECONDS, as_datetime
from flowstone.foundation.errors import MissingOutputError, SettingsError, UsageError
from flowstone.foundation.serialize import to_json
from flowstone.foundation.signatures.sshsig import sign
from flowstone.foundation.signatures.statement import NAMESPACE
from flowstone.stores import outputs
from flowstone.stores.tables import output
from flowstone.testing import isolated_settings

PEOPLE = {"allow_asserted": True, "groups": {"reviewers": ["grace", "edsger"]}}
GATE = Approval("May we?", ["group:reviewers"])


def shop(gate: Approval | None = GATE, *, size: int = 3, sensitive: bool = False) -> Pipeline:
    """Orders, a ledger behind a gate, and a note made of it."""

    @asset(code_version=str(size))
    def orders():
        return [{"id": number, "amount": number} for number in range(size)]

    @asset(approval=gate, code_version="1", sensitive=sensitive)
    def ledger(orders):
        return {"total": sum(order["amount"] for order in orders), "rows": orders}

    @asset(code_version="1")
    def note(ledger):
        return f"total {ledger['total']}"

    return Pipeline("shop", [orders, ledger, note])


@pytest.fixture
def settings(tmp_path: Path, database_url: str):
    """Settings that believe who people say they are."""
    return isolated_settings(tmp_path / "home", database_url=database_url, approvals=PEOPLE)


def asked_in(settings, pipeline: Pipeline, requester: str = "ada") -> str:
    """Run the pipeline and return the request it makes."""
    with FlowStone(pipeline, settings=settings, actor=requester) as flow:
        assert flow.run().asks
        return flow.approvals.requests()[-1].id


def test_a_request_is_told_whole(settings) -> None:
    """The view has the bytes, the inputs with their versions, the code, what follows, and whether this person may decide."""
    id = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace:
        view = grace.approvals.show(id[:8])
        made = view.candidate

    assert (view.request.id, view.needed, view.votes) == (id, 1, [])
    assert (made.digest, view.now.bytes, view.now.newer, view.now.overtaken_by) == (view.request.digest, "match", [], None)
    assert [(one.parameter, one.output.asset, one.output.version, one.output.rows) for one in view.inputs] == [
        ("orders", "orders", 1, 3)
    ]
    assert view.code.definition == made.definition
    assert (view.now.outlook.behind, view.now.outlook.skipped, view.now.outlook.ends) == (["note"], 1, "partial")
    assert (view.now.you.may, view.now.you.name, view.now.you.identity) == (True, "grace", "asserted")
    assert view.compared is None
    json.dumps(plain_view(view))


def test_what_is_newer_is_told_and_changes_nothing(settings) -> None:
    """Newer code, newer inputs and a newer current version are named in the view, and kept with the decision that was made."""
    first = asked_in(settings, shop())
    with FlowStone(shop(size=4), settings=settings, actor="ada") as flow:
        flow.run("orders")
    with FlowStone(settings=settings, actor="grace") as grace:
        view = grace.approvals.show(first)
        (told,) = view.now.newer
        assert told.startswith("upstream orders was recomputed (sha256 ")
        done = grace.approvals.approve(first, "all the same")
    assert done.vote.seen == {"shown": True, "newer": [told], "bytes": "match"}


def test_what_changed_is_compared_with_the_approved_version(settings) -> None:
    """The stored difference is to the version that was current when people were asked, and who had approved that is named."""
    first = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace:
        grace.approvals.approve(first, "fine")
        second = asked_in(settings, shop(size=4))
        view = grace.approvals.show(second)

    assert (view.compared.base.version, view.compared.approval.id, view.compared.approval.decided_by) == (1, first, "grace")
    assert "~ changed  rows 3 -> 4" in view.compared.lines


def test_bytes_that_changed_are_told_before_and_refused_after(settings, tmp_path: Path) -> None:
    """A candidate whose file was changed is said to be: in the view, and by the decision, which makes the request void."""
    id = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace:
        made = grace.approvals.show(id).candidate
        (found,) = (tmp_path / "home").rglob(Path(made.location).name)
        found.write_bytes(found.read_bytes().replace(b"3", b"9"))
        view = grace.approvals.show(id)
        assert view.now.bytes == "changed"
        with pytest.raises(ApprovalError, match="is void"):
            grace.approvals.approve(id, "fine")
        assert grace.approvals.find(id).status == "invalidated"
        found.unlink()
        assert grace.approvals.show(id).now.bytes == "gone"


def test_as_decided_is_made_of_what_was_stored(settings) -> None:
    """What was known at the decision stays the same when everything else has moved on."""
    first = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace:
        grace.approvals.approve(first, "fine")
        then = plain_view(grace.approvals.show(first, as_decided=True))
        second = asked_in(settings, shop(size=4))
        grace.approvals.approve(second, "fine")
        grace.erase("ledger", output=then["candidate"]["id"], reason="a test")
        again = plain_view(grace.approvals.show(first, as_decided=True))
        assert to_json(again) == to_json(then)
        assert then["now"] is None
        with pytest.raises(UsageError, match="as_decided of the past"):
            grace.approvals.show(first, as_decided=True, preview=True)


def test_a_preview_is_bounded_audited_and_kept_with_the_decision(settings) -> None:
    """The beginning of a sensitive candidate is at most 40 lines; that it was read is audited; its digest is in the vote."""
    id = asked_in(settings, shop(size=200, sensitive=True))
    with FlowStone(settings=settings, actor="grace") as grace:
        preview = grace.approvals.show(id, preview=True).preview
        assert len(preview.lines) == 40
        assert sum(map(len, preview.lines)) <= 4_000
        assert preview.note.startswith("the first 40 of ")
        done = grace.approvals.approve(id, "looked at it")
        grace.audit.seal()
        read = [entry for entry in grace.audit.entries(limit=100) if entry.action == "data.read"]
    assert done.vote.seen["preview"] == preview.digest
    assert [(entry.actor, entry.asset) for entry in read] == [("grace", "ledger")]


@pytest.mark.parametrize(
    ("value", "shown", "note"),
    [
        ("a\x1b[2J\npassword=hunter2\nc", ["a\\x1b[2J", "password=[redacted]", "c"], ""),
        (b"\x00\xff", [], "2 bytes that are no text"),
        ({"secret": "x1", "n": 1}, ["{", '  "secret": "[redacted]",', '  "n": 1', "}"], ""),
        (pl.DataFrame({"id": [1, 2], "token": ["x1", "y2"]}), ["id  token", "1   [redacted]", "2   [redacted]"], ""),
        ("x" * 500, ["x" * 198 + ".."], ""),
        ("\n".join("line" for _ in range(50)), ["line"] * 40, "the first 40 of 50 lines"),
    ],
    ids=["text", "bytes", "json", "table", "wide", "long"],
)
def test_previews_of_values(value, shown, note, tmp_path: Path) -> None:
    """Each kind of value has a preview without secrets, control characters or long lines, or says why it has none."""

    @asset(approval=GATE)
    def gated():
        return value

    settings = isolated_settings(tmp_path, approvals=PEOPLE)
    id = asked_in(settings, Pipeline("p", [gated]))
    with FlowStone(settings=settings, actor="grace") as grace:
        preview = grace.approvals.show(id, preview=True).preview
    assert (preview.lines, preview.note) == (shown, note)


# -- signatures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path):
    """The private keys of grace and eve in files, and the file of allowed signers, which lists grace and edsger."""
    lines, files = [], {}
    for name in ("grace", "edsger", "eve"):
        key = Ed25519PrivateKey.generate()
        files[name] = tmp_path / f"{name}.key"
        files[name].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        files[name].chmod(0o600)
        if name != "eve":
            lines.append(f"{name} {key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()}\n")
    (tmp_path / "allowed_signers").write_text("".join(lines))
    return files


@pytest.fixture
def signing(tmp_path: Path, database_url: str, keys):
    """Settings where people are known by their keys and by nothing else."""
    people = {"groups": PEOPLE["groups"], "allow_asserted": True, "allowed_signers": tmp_path / "allowed_signers"}
    return isolated_settings(tmp_path / "home", database_url=database_url, approvals=people)


SIGNED = shop(Approval("May we?", ["group:reviewers"], assurance="signed"))


def test_a_signed_decision_counts_and_an_unsigned_one_does_not(signing, keys) -> None:
    """Where a signature is wanted, nothing else is enough; the signature and the fingerprint are kept with the vote."""
    id = asked_in(signing, SIGNED)
    with FlowStone(settings=signing, actor="grace") as grace:
        you = grace.approvals.show(id).now.you
        assert (you.may, you.must_sign) == (True, True)
        with pytest.raises(ApprovalError, match="signed is needed"):
            grace.approvals.approve(id, "fine")
        done = grace.approvals.approve(id, "fine", sign=keys["grace"])
        assert done.vote.key.startswith("SHA256:")
        assert done.vote.signature.startswith("-----BEGIN SSH SIGNATURE-----")
        assert done.approval.status == "approved"
        grace.audit.seal()
        report = grace.audit.verify()
    assert [finding.message for finding in report.checked.findings] == []


def test_a_statement_is_signed_elsewhere(signing, keys) -> None:
    """The bytes that ``statement`` gives are signed on another machine, and the signature decides here, with its own comment."""
    id = asked_in(signing, SIGNED)
    with FlowStone(settings=signing, actor="edsger") as edsger:
        text = edsger.approvals.statement(id, "reject", "figures are wrong")
        signature = _signed_by(keys["edsger"], text)
        done = edsger.approvals.reject(id, signature=signature, statement=text)
    assert (done.approval.status, done.vote.comment) == ("rejected", "figures are wrong")


def test_what_proves_nothing_is_refused_and_recorded(signing, keys, tmp_path: Path) -> None:
    """A foreign key, another's key, a statement of another verdict, request, person or time, and a forged text decide nothing."""
    id = asked_in(signing, SIGNED)
    with FlowStone(settings=signing, actor="grace") as grace, FlowStone(settings=signing, actor="edsger") as edsger:
        text, other = grace.approvals.statement(id, "approve", "fine"), edsger.approvals.statement(id, "approve", "fine")
        old = text.replace(text[text.index(b"at: ") :], b'at: "2020-01-01T00:00:00.000000Z"\n')
        own = _signed_by(keys["grace"], text)
        attempts = {
            "nobody's key is": {"sign": keys["eve"]},
            "is not of 'grace' but of 'edsger'": {"sign": keys["edsger"]},
            "verdict = 'reject'": _both(keys["grace"], grace.approvals.statement(id, "reject", "no")),
            "edsger signed it, and grace decides": _both(keys["edsger"], other),
            "not between the request and now": _both(keys["grace"], old),
            "is no statement of a decision": {"signature": own, "statement": text + b"x"},
            "is not one of the key": {"signature": own, "statement": text.replace(b'"fine"', b'"mine"')},
        }
        for message, proof in attempts.items():
            with pytest.raises(ApprovalError) as refused:
                grace.approvals.approve(id, **proof)
            assert refused.value.context["reason"] == "signature"
            assert message in refused.value.message
        told = [event.payload["reason"] for event in grace.events(names=["flowstone.checkpoint.refused"])]
        assert told == ["signature"] * len(attempts)
        assert (grace.approvals.find(id).status, grace.approvals.votes(id)) == ("pending", [])
        with pytest.raises(UsageError, match="belong together"):
            grace.approvals.approve(id, signature=own)


def test_one_key_under_two_names_is_one_person(signing, keys, tmp_path: Path) -> None:
    """Where two must agree, the second signature with the same key is refused, whatever name the file gives it."""
    signers = tmp_path / "allowed_signers"
    signers.write_text(signers.read_text().replace("grace ", "grace,edsger ", 1))
    id = asked_in(signing, shop(Approval("May we?", ["group:reviewers"], quorum=2, assurance="signed")))
    with FlowStone(settings=signing, actor="grace") as grace, FlowStone(settings=signing, actor="edsger") as edsger:
        grace.approvals.approve(id, sign=keys["grace"])
        with pytest.raises(ApprovalError, match="has voted already, as grace: one key is one person") as refused:
            edsger.approvals.approve(id, sign=keys["grace"])
        assert refused.value.context["reason"] == "same_key"
        assert edsger.approvals.approve(id, sign=keys["edsger"]).approval.status == "approved"


def test_a_key_that_has_run_out_cannot_say_it_signed_before(signing, keys, tmp_path: Path) -> None:
    """The time in a statement is the signer's word: the key must count then, and when the decision arrives."""
    id = asked_in(signing, SIGNED)
    with FlowStone(settings=signing, actor="grace") as grace:
        then = grace.approvals.find(id).requested_at
        text = grace.approvals.statement(id, "approve", "fine")
        said = as_datetime(then).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        early = text[: text.index(b"at: ")] + f'at: "{said}"\n'.encode()
        signers = tmp_path / "allowed_signers"
        whole = signers.read_text()
        until = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(then // NANOSECONDS + 1))
        signers.write_text(whole.replace("grace ", f'grace valid-before="{until}" ', 1))
        time.sleep(2.5)
        with pytest.raises(ApprovalError, match="does not allow the key after"):
            grace.approvals.approve(id, **_both(keys["grace"], early))
        signers.write_text(whole)
        assert grace.approvals.approve(id, **_both(keys["grace"], early)).approval.status == "approved"


def test_signing_needs_a_list_of_signers(settings, keys) -> None:
    """Where nobody's keys are known, signing says which setting is missing."""
    id = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace, pytest.raises(SettingsError, match="allowed_signers is not set"):
        grace.approvals.approve(id, "fine", sign=keys["grace"])


def _signed_by(file: Path, text: bytes) -> str:
    return sign(load_ssh_private_key(file.read_bytes(), None), text, NAMESPACE)


def _both(file: Path, text: bytes) -> dict[str, object]:
    return {"signature": _signed_by(file, text), "statement": text}


# -- policy -------------------------------------------------------------------------------------------------------------


def kinds(flow: FlowStone) -> list[tuple[str, str]]:
    """The violations as kind and asset."""
    return [(one.kind, one.asset) for one in flow.approvals.violations()]


def test_gates_are_told_without_the_code(settings) -> None:
    """The newest stored definition says which gates there are and who keeps them."""
    asked_in(settings, shop())
    with FlowStone(settings=settings) as flow:
        (gate,) = flow.approvals.policy()
    assert (gate.asset, gate.people, gate.pending, gate.policy.quorum) == ("ledger", ["grace", "edsger"], 1, 1)


def test_violations_of_the_gate_in_force(settings) -> None:
    """Decisions that the gate of today would refuse are listed: too few, only asserted, and the requester's own."""
    lax = asked_in(settings, shop(Approval(four_eyes=False, assurance="asserted")))
    with FlowStone(settings=settings, actor="ada") as ada:
        assert kinds(ada) == [("no_approvers", "ledger")]
        ada.approvals.approve(lax, "mine is fine")
    strict = Approval(approvers=["grace", "group:nobody"], quorum=2)
    with FlowStone(shop(strict), settings=settings, actor="ada") as ada:
        ada.run("orders")
        assert sorted(kinds(ada)) == [
            ("asserted", "ledger"), ("four_eyes", "ledger"), ("quorum", "ledger"), ("quorum_unreachable", "ledger"),
            ("unknown_group", "ledger"),
        ]  # fmt: skip


def test_values_that_nobody_approved_are_listed(settings) -> None:
    """A value from before the gate is listed as current without an approval; an approved one and a candidate are not."""
    with FlowStone(shop(None), settings=settings, actor="ada") as ada:
        assert ada.run().ok
    id = asked_in(settings, shop(size=4))
    with FlowStone(settings=settings, actor="grace") as grace:
        (version,) = grace.outputs(without_approval=True, which="all")
        assert (version.output.asset, version.output.version, version.current) == ("ledger", 1, True)
        assert ("ungated", "ledger") in kinds(grace)
        assert grace.outputs(without_approval=True, until=version.output.created_at) == []
        assert [one.output.version for one in grace.outputs("note", without_approval=True)] == [1]
        grace.approvals.approve(id, "fine")
        assert ("ungated", "ledger") not in kinds(grace)
        assert [one.output.version for one in grace.outputs(without_approval=True)] == [1]
        assert [one.asked for one in grace.outputs("ledger")] == ["approved", ""]


def test_a_pointer_moved_to_a_candidate_is_listed(settings) -> None:
    """A candidate that was made current past its gate is listed, while people are still asked about it."""
    id = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace:
        assert grace.outputs(without_approval=True) == []
        candidate = grace.approvals.find(id).output
        with pytest.raises(MissingOutputError):
            grace.get("ledger")
        database = grace._deployment.existing().database
        with database.transaction() as tx:
            outputs.point(tx, "test", "ledger", "", candidate)
        assert [one.output.id for one in grace.outputs(without_approval=True)] == [candidate]
        assert ("ungated", "ledger") in kinds(grace)


def test_gates_before_are_compared_by_what_went_in(settings) -> None:
    """A value that people let be computed is not listed; one computed from something else than was shown is."""
    gate = Approval(approvers=["grace"], when="before")
    with FlowStone(shop(gate), settings=settings, actor="ada") as ada, FlowStone(settings=settings, actor="grace") as grace:
        result = ada.run()
        grace.approvals.approve(ada.approvals.requests()[0].id, "go ahead")
        assert ada.resume(result.run_id).ok
        assert grace.outputs(without_approval=True) == []
        database = grace._deployment.existing().database
        with database.transaction() as tx:
            tx.execute(_other_inputs, {})
        assert [one.output.asset for one in grace.outputs(without_approval=True)] == ["ledger"]


def _other_inputs():
    return update(output).where(output.c.asset == "ledger").values(inputs="0" * 64)


def test_history_tells_every_request_and_vote(settings) -> None:
    """The newest request is first, each with its votes; an unknown asset is refused."""
    first = asked_in(settings, shop())
    with FlowStone(settings=settings, actor="grace") as grace:
        grace.approvals.reject(first, "no")
        second = asked_in(settings, shop())
        told = grace.approvals.history("ledger")
        assert [(one.request.id, one.request.status, [vote.comment for vote in one.votes]) for one in told] == [
            (second, "pending", []), (first, "rejected", ["no"]),
        ]  # fmt: skip
        assert grace.approvals.history("orders") == []
        with pytest.raises(UsageError, match="has no asset"):
            grace.approvals.history("ledgers")


def test_a_result_names_the_request(settings) -> None:
    """What a notebook shows of a run that waits names whom it waits for and the request."""
    with FlowStone(shop(), settings=settings, actor="ada") as ada:
        result = ada.run()
        (asked,) = ada.approvals.requests(run=result.run_id[:9])
    assert f"ledger: approval: waits for group reviewers ({asked.id})" in repr(result)
