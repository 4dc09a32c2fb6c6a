"""What the log tells of gates: decisions of real runs, gates and settings that protect less, and whose keys count."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from flowstone import Approval, FlowStone, Pipeline, Static, asset
from flowstone.audit import verify_evidence
from flowstone.audit.offline import verify_export, verify_proof
from flowstone.foundation.errors import ApprovalError
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.settings import AuditSettings
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.stores.audit_questions import Wanted
from flowstone.testing import isolated_settings

Open = Callable[..., FlowStone]
STRICT = Approval("May we?", ["bob", "eve"], quorum=2)


def shop(gate: Approval | None, name: str = "shop") -> Pipeline:
    """A pipeline whose ``bom`` is behind *gate*."""

    @asset
    def raw() -> list[int]:
        return [1, 2]

    @asset(approval=gate)
    def bom(raw: list[int]) -> dict[str, Any]:
        return {"a": raw}

    @asset
    def note(bom: dict[str, Any]) -> int:
        return len(bom)

    return Pipeline(name, [raw, bom, note])


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A function that opens the same project as somebody, with a pipeline and settings."""
    made: list[FlowStone] = []

    def open_(actor: str, pipeline: Pipeline | None = None, *, hold: bool = False, **approvals: Any) -> FlowStone:
        settings = replace(
            isolated_settings(tmp_path / "home"),
            audit=AuditSettings(require_approval_for_weakening=hold),
            approvals=ApprovalSettings(**{"allow_asserted": True, **approvals}),
        )
        made.append(FlowStone(pipeline, settings=settings, actor=actor))
        return made[-1]

    yield open_
    for flow in made:
        flow.close()


def told(flow: FlowStone, action: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The data and disclosures of the entries of an action, oldest first."""
    return [(entry.data, entry.disclosed) for entry in reversed(flow.audit.entries(Wanted(action=action), limit=1_000))]


def weaker(flow: FlowStone, control: str = "approval") -> list[tuple[str, str]]:
    """What the log tells of a control that protects less."""
    return [(data["was"], data["now"]) for data, _ in told(flow, "control.weakened") if data["control"] == control]


def decide(opened: Open, verdict: str, *people: str, id: str = "", **settings: Any) -> str:
    """Let people decide about the request *id*, or the only open one; return its id."""
    for person in people:
        with opened(person, **settings) as flow:
            [asked] = [flow.approvals.find(id)] if id else flow.approvals.requests()
            getattr(flow.approvals, verdict)(asked.id, "looked at it")
    return asked.id


def test_what_people_decide_is_told_and_found_intact(opened: Open) -> None:
    """Candidates that wait, are approved, rejected and computed again have their entries: verifying finds nothing, ever."""
    with opened("ann", shop(STRICT)) as flow:
        run = flow.run(["note"])
        assert flow.audit.verify().checked.findings == []
        decide(opened, "approve", "bob", "eve")
        flow.resume(run.run_id)
        assert flow.audit.verify().checked.findings == []
        flow.run(["bom"], force=True)
        decide(opened, "reject", "bob")
        with pytest.raises(ApprovalError), opened("eve") as late:
            late.approvals.approve(late.approvals.requests(status="rejected")[0].id, "too late")
        report = flow.audit.verify()

        assert (report.checked.verdict, report.checked.findings) == ("INTACT", [])
        assert (report.records["approvals"], report.records["votes"]) == (2, 3)
        actions = [entry.action for entry in reversed(flow.audit.entries(Wanted(action="approval.*")))]
        assert actions == [
            "approval.rules_changed", "approval.requested", "approval.voted", "approval.approved", "approval.requested",
            "approval.rejected", "approval.refused",
        ]  # fmt: skip


WEAKER = {
    "gone": (None, [("asks bob, eve, quorum 2", "no gate")]),
    "more people": (replace(STRICT, approvers=["bob", "eve", "ann"]), [("approvers bob, eve", "approvers ann, bob, eve")]),
    "anybody": (replace(STRICT, approvers=[]), [("approvers bob, eve", "approvers anybody")]),
    "quorum": (replace(STRICT, quorum=1), [("quorum 2", "quorum 1")]),
    "four eyes": (replace(STRICT, four_eyes=False), [("four_eyes", "no four_eyes")]),
    "assurance": (replace(STRICT, assurance="asserted"), [("assurance os", "assurance asserted")]),
    "time agrees": (replace(STRICT, on_timeout="approve"), [("on timeout fail", "on timeout approve")]),
    "the function asks": (replace(STRICT, when="asked"), [("asked after", "asked asked")]),
    "before": (replace(STRICT, when="before"), [("asked after", "asked before")]),
    "longer": (replace(STRICT, timeout="30d"), []),
    "fewer people": (replace(STRICT, approvers=["bob", "eve"], quorum=2, assurance="signed", not_author=True), []),
}


@pytest.mark.parametrize("case", WEAKER)
def test_a_gate_that_protects_less_is_told(opened: Open, case: str) -> None:
    """Each respect in which a gate protects less than before is ``control.weakened``, what protects as much or more is not."""
    gate, expected = WEAKER[case]
    with opened("ann", shop(STRICT)) as flow:
        flow.run(["raw"])
    with opened("ann", shop(gate)) as flow:
        flow.run(["raw"])

        assert weaker(flow) == expected
        changed = told(flow, "pipeline.changed")[1][1]["changes"]
        assert '"approval":' in changed
        assert flow.audit.verify().checked.findings == []


def test_a_gate_that_another_pipeline_goes_round_is_told(opened: Open) -> None:
    """An asset that was computed behind a gate, and that another pipeline computes without one, is told of."""
    with opened("ann", shop(STRICT)) as flow:
        flow.run(["note"])
    with opened("ann", shop(None, "round_it")) as flow:
        flow.run(["raw"])

        assert weaker(flow) == [("asks bob, eve, quorum 2", "no gate")]


def test_a_weaker_gate_waits_for_those_who_were_asked_before(opened: Open) -> None:
    """Where that is set, nothing is computed behind a weaker gate until the old approvers agree, and from then on it is."""
    with opened("ann", shop(STRICT), hold=True) as flow:
        flow.run(["bom"])
        decide(opened, "approve", "bob", "eve", hold=True)
    with opened("ann", shop(None), hold=True) as flow:
        run = flow.run(["bom"], force=True)
        [asked] = flow.approvals.requests()
        assert (asked.kind, asked.output, asked.policy["quorum"]) == ("weakening", "", 2)
        assert asked.facts["less"] == [["asks bob, eve, quorum 2", "no gate"]]
        assert run.status == "waiting"
        with pytest.raises(ApprovalError):
            flow.approvals.approve(asked.id, "I say so myself")
        decide(opened, "approve", "bob", "eve", hold=True)
        assert flow.resume(run.run_id).status == "success"
        assert flow.run(["bom"], force=True).status == "success"
        assert flow.approvals.requests() == []
        assert flow.audit.verify().checked.findings == []


def test_a_weaker_gate_is_let_through_once_for_every_partition(opened: Open) -> None:
    """What waits in other partitions for the same answer goes on with it, and is not asked about again."""

    def pipeline(gate: Approval | None) -> Pipeline:
        @asset(approval=gate, partitions=Static(["a", "b", "c"]))
        def bom() -> int:
            return 1

        return Pipeline("shop", [bom])

    keys = ["a", "b", "c"]
    with opened("ann", pipeline(replace(STRICT, quorum=1)), hold=True) as flow:
        for key in keys:
            flow.run(["bom"], partition=key)
        for asked in flow.approvals.requests():
            decide(opened, "approve", "bob", hold=True, id=asked.id)
    with opened("ann", pipeline(None), hold=True) as flow:
        waiting = [flow.run(["bom"], partition=key, force=True).run_id for key in keys]
        first, *others = flow.approvals.requests()
        assert [asked.kind for asked in (first, *others)] == ["weakening"] * 3
        decide(opened, "approve", "eve", hold=True, id=first.id)
        assert [flow.approvals.find(asked.id).status for asked in (first, *others)] == ["approved", "invalidated", "invalidated"]
        assert [flow.resume(run_id).status for run_id in waiting] == ["success"] * 3
        assert flow.approvals.requests() == []
        assert [str(finding) for finding in flow.doctor() if finding.level == "fail"] == []
        assert flow.audit.verify().checked.findings == []


def test_a_weaker_gate_that_is_refused_makes_nothing(opened: Open) -> None:
    """A weaker gate that the old approvers refuse ends its step as rejected; the next run asks again."""
    with opened("ann", shop(STRICT), hold=True) as flow:
        flow.run(["bom"])
        decide(opened, "reject", "bob", hold=True)
    with opened("ann", shop(None), hold=True) as flow:
        for _ in range(2):
            run = flow.run(["bom"])
            decide(opened, "reject", "eve", hold=True)
            assert [(step.status, step.reason) for step in flow.show(run.run_id).materializations if step.asset == "bom"] == [
                ("rejected", "rejected")
            ]
        assert flow.audit.verify().checked.findings == []


def test_settings_that_let_more_people_decide_are_told(opened: Open) -> None:
    """Settings by which other people may decide have an entry that names nobody, and what protects less is told of."""
    people = {"reviewers": ("bob", "eve")}
    for options in (
        {"allow_asserted": False, "groups": people, "hold": True},
        {"allow_asserted": False, "groups": people, "hold": True},
        {"allow_asserted": True, "groups": {"reviewers": ("bob", "eve", "ann")}, "machines": ("cron",), "hold": False},
        {"allow_asserted": False, "groups": {"reviewers": ("bob",)}, "hold": True},
    ):
        with opened("ann", shop(None), **options) as flow:
            flow.run(["raw"])
    with opened("ann") as flow:
        assert len(told(flow, "approval.rules_changed")) == 3
        assert all("bob" not in str(data) for data, _ in told(flow, "approval.rules_changed"))
        assert weaker(flow, "approvals.allow_asserted") == [("false", "true")]
        assert weaker(flow, "approvals.groups") == [("group reviewers", "group reviewers with 1 more: ann")]
        assert weaker(flow, "approvals.machines") == [("6 names", "5 of them not any more")]
        assert weaker(flow, "audit.require_approval_for_weakening") == [("true", "false")]


# -- signatures ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """For two people the file of a private key, and the line that lists it."""
    made = {}
    for number, name in enumerate(("bob", "eve")):
        key = Ed25519PrivateKey.from_private_bytes(bytes([number + 1] * 32))
        path = tmp_path / f"{name}.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.chmod(0o600)
        made[name] = (path, f"{name} {key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()}\n")
    return made


def test_signed_decisions_are_verified_by_whoever_has_the_keys(
    opened: Open, keys: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    """A signature counts while its key is listed; the log says whose keys came and went; without a file that stays open."""
    signers, export = tmp_path / "signers", tmp_path / "all.ndjson"
    signers.write_text(keys["bob"][1] + keys["eve"][1])
    with opened("ann", shop(replace(STRICT, assurance="signed")), allowed_signers=signers) as flow:
        flow.run(["bom"])
    for name in ("bob", "eve"):
        with opened(name, allowed_signers=signers) as flow:
            [asked] = flow.approvals.requests()
            flow.approvals.approve(asked.id, "looked at it", sign=keys[name][0])
    with opened("ann", allowed_signers=signers) as flow:
        report = flow.audit.verify()
        assert (report.checked.findings, report.decisions, report.not_checked[1:]) == ([], 2, [])
        assert flow.audit.verify(signers=signers).decisions == 2
    with opened("ann") as flow:
        report = flow.audit.verify()
        assert (report.checked.findings, report.decisions) == ([], 0)
        assert any("whose keys signed 2 decisions" in what for what in report.not_checked)
    signers.write_text(keys["bob"][1])
    with opened("ann", shop(None), allowed_signers=signers) as flow:
        flow.run(["raw"])
        report = flow.audit.verify()
        assert (report.checked.findings, report.decisions) == ([], 1)
        assert any("not listed any more" in what for what in report.not_checked)
        changes = [(data["added"], data["removed"]) for data, _ in told(flow, "approval.signers_changed")]
        assert changes == [(2, 0), (0, 1)]
        flow.audit.seal()
        flow.audit.export(export)
        trusted = [pin.key for pin in flow.audit.pinned_keys()]
        listed = Signers.read(signers)
        offline = verify_export(export, flow.audit.head().origin, trusted, signers=listed)
        assert (offline.findings, offline.decisions, len(offline.not_checked)) == ([], 1, 1)
        [entry] = flow.audit.entries(Wanted(action="approval.approved"))
        proof = verify_proof(flow.audit.prove(entry.seq or 0), flow.audit.head().origin, trusted, signers=listed)
        assert (proof.findings, proof.decisions, len(proof.not_checked)) == ([], 0, 1)


def test_a_key_that_was_never_listed_signs_nothing(opened: Open, keys: dict[str, tuple[Path, str]], tmp_path: Path) -> None:
    """A file of signers that the verifier brings, and that gives a key to somebody else, makes a finding of their decision."""
    signers, others = tmp_path / "signers", tmp_path / "others"
    signers.write_text(keys["bob"][1])
    others.write_text(keys["bob"][1].replace("bob ", 'bob valid-before="20200101Z" '))
    with opened("ann", shop(Approval("May we?", ["bob"], assurance="signed")), allowed_signers=signers) as flow:
        flow.run(["bom"])
    with opened("bob", allowed_signers=signers) as flow:
        flow.approvals.approve(flow.approvals.requests()[0].id, "fine", sign=keys["bob"][0])
        report = flow.audit.verify(signers=others)

    assert [finding.kind for finding in report.checked.findings] == ["decision"]
    assert "does not allow the key after 2020-01-01" in report.checked.findings[0].message


def test_a_decision_whose_comment_was_redacted_stays_open(
    opened: Open, keys: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    """What was signed cannot be made again once its comment was redacted: that is said, and is no finding."""
    signers = tmp_path / "signers"
    signers.write_text(keys["bob"][1])
    with opened("ann", shop(Approval("May we?", ["bob"], assurance="signed")), allowed_signers=signers) as flow:
        flow.run(["bom"])
    with opened("bob", allowed_signers=signers) as flow:
        flow.approvals.approve(flow.approvals.requests()[0].id, "as Ann wants", sign=keys["bob"][0])
        flow.audit.seal()
        [entry] = flow.audit.entries(Wanted(action="approval.approved"))
        flow.audit.redact(entry.seq or 0, ["comment"], reason="asked by Ann")
        report = flow.audit.verify()

    assert (report.checked.findings, report.decisions) == ([], 0)
    assert any("1 decisions are signed, and their comment is redacted" in what for what in report.not_checked)


def test_a_decision_written_around_the_code_is_found(opened: Open, tmp_path: Path) -> None:
    """A candidate that plain SQL approves and publishes is found, with the request that nobody has decided."""
    with opened("ann", shop(STRICT)) as flow:
        flow.run(["bom"])
        [asked] = flow.approvals.requests()
    with closing(sqlite3.connect(tmp_path / "home" / "flowstone.db")) as database:
        database.execute("UPDATE approval SET status = 'approved', decided_by = 'bob', next_at = NULL, ended_at = 1")
        database.execute("UPDATE materialization SET status = 'success' WHERE asset = 'bom'")
        database.execute(
            "INSERT INTO current_output (project, asset, partition, output) VALUES ('test', 'bom', '', ?)", [asked.output]
        )
        database.commit()
    with opened("ann") as flow:
        found = [finding.message for finding in flow.audit.verify().checked.findings]

    assert any(f"approval {asked.id} says status = approved" in message for message in found)
    assert any("the current output of bom is" in message for message in found)


# -- evidence of a run, verified without FlowStone ------------------------------------------------------------------------------


def proven(flow: FlowStone, path: Path, signers: Path | None = None) -> list[str]:
    """What the stand-alone verifier says of the evidence of the newest run; the first line is the verdict."""
    flow.audit.seal()
    path.unlink(missing_ok=True)
    flow.audit.evidence(flow.runs()[0].id, path)
    said: list[str] = []
    key, listed = str(flow.audit.pinned_keys()[-1].key), signers.read_text() if signers is not None else None
    verify_evidence.verify(path.read_bytes(), flow.audit.head().origin, key, said.append, listed)
    return said


def test_evidence_of_a_run_has_who_released_it(opened: Open, keys: dict[str, tuple[Path, str]], tmp_path: Path) -> None:
    """A bundle proves what people were asked, what they said, and by whose keys, with a file of signers of the verifier's own."""
    signers, path = tmp_path / "signers", tmp_path / "run.evidence"
    signers.write_text(f"# the reviewers\n{keys['bob'][1]}{keys['eve'][1]}")
    with opened("ann", shop(replace(STRICT, assurance="signed")), allowed_signers=signers) as flow:
        flow.run(["bom"])
        assert proven(flow, path)[0].startswith("PROVEN")
    for name in ("bob", "eve"):
        with opened(name, allowed_signers=signers) as flow:
            flow.approvals.approve(flow.approvals.requests()[0].id, "looked at it \u202e", sign=keys[name][0])
    with opened("ann") as flow:
        said = proven(flow, path, signers)
        assert (said[0][:6], said[1]) == ("PROVEN", "2 decisions are signed by who decided")
        assert "2 decisions are signed; whose keys" in proven(flow, path)[1]
        signers.write_text(keys["eve"][1] + keys["bob"][1].replace("bob ", 'bob valid-before="20200101000000Z" '))
        [wrong] = [line for line in proven(flow, path, signers) if line.startswith("DIFFERS")]
        assert wrong.endswith("was no key of bob by the allowed signers")


CHANGED = {
    "UPDATE approval SET decided_by = 'ceo'": "its decided_by is not what its newest entry says",
    "UPDATE approval SET policy = '{}'": "its policy is not what its newest entry says",
    "UPDATE approval SET facts = '{}'": "its record is not what its entry says",
    "UPDATE approval_vote SET verdict = 'approve'": "the vote of bob is not what its entry says",
    "UPDATE approval_vote SET comment = 'fine'": "the comment of bob is not what its entry says",
    "DELETE FROM approval_vote": "that is not in the bundle",
    "UPDATE approval SET status = 'approved'": "no request says why it is rejected",
}


def test_evidence_of_a_decision_that_was_changed_differs(opened: Open, tmp_path: Path) -> None:
    """What was changed of a request, a vote or a step past FlowStone does not agree with the entries of its own bundle."""
    path, place = tmp_path / "run.evidence", tmp_path / "home" / "flowstone.db"
    with opened("ann", shop(STRICT)) as flow:
        flow.run(["bom"])
    decide(opened, "reject", "bob")
    for statement, expected in CHANGED.items():
        with closing(sqlite3.connect(place)) as database, closing(sqlite3.connect(":memory:")) as before:
            database.backup(before)
            database.execute(statement)
            database.commit()
            with opened("ann") as flow:
                said = proven(flow, path)
            before.backup(database)
        assert any(line.startswith("DIFFERS") and expected in line for line in said), (statement, said)


VECTORS = Path(__file__).parents[2] / "unit" / "foundation" / "signatures" / "vectors"


@pytest.mark.parametrize(
    "name", ["ed25519", "ed25519-sha256", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048", "token-ed25519", "token-ecdsa"]
)
def test_the_stand_alone_verifier_reads_what_openssh_signs(name: str) -> None:
    """Signatures of each type of key, as ssh-keygen made them, are verified, and are of no other text."""
    armored, message = (VECTORS / f"{name}.sig").read_text(), (VECTORS / "statement").read_bytes()

    assert verify_evidence.signer_of(armored, message).startswith("SHA256:")
    with pytest.raises(verify_evidence.Refused):
        verify_evidence.signer_of(armored, message + b"x")
