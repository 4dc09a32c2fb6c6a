"""The verbs about approvals: what they print, that what they print can be pasted, and deciding on a terminal."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from datetime import datetime

import pytest

from flowstone.cli.lines import moment

PIPELINE = """
from flowstone import Approval, Pipeline, asset


@asset(config={"n": 3})
def orders(config):
    return [{"id": number, "amount": 10 * number} for number in range(config["n"])]


@asset(approval=Approval("May we publish \\x1b[31m these figures?", approvers=["group:reviewers"]))
def ledger(ctx, orders) -> dict:
    ctx.summary(f"{len(orders)} orders")
    return {"total": sum(order["amount"] for order in orders), "rows": orders, "api_token": "abcdef123456"}


@asset
def note(ledger):
    return f"total {ledger['total']}"


@asset
def side(orders):
    return len(orders)


@asset(approval=Approval("It costs money", approvers=["grace"], when="before", timeout="2d", on_timeout="remind"))
def costly():
    return 1


pipeline = Pipeline("shop", [orders, ledger, note, side, costly])
"""
SETTINGS = """
[approvals]
allow_asserted = true

[approvals.groups]
reviewers = ["grace", "edsger"]

[config]
n = {n}
"""
ASKED = re.compile(r"apr_[0-9a-z]{12}")


@pytest.fixture(autouse=True)
def not_building(monkeypatch):
    """Who runs the tests is a person, also on a build server."""
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def project(tmp_path, monkeypatch, cli):
    """A project whose first run waits for people; the working directory. Returns a function that sets another ``n``."""

    def choose(n):
        (tmp_path / "flowstone.toml").write_text(SETTINGS.format(n=n))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    choose(3)
    return choose


def ns_of(text):
    """Nanoseconds of an ISO time."""
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * 10**9 + at.microsecond * 1_000


def run_ledger(cli, *more):
    """Run the gated asset and what is behind it; return what was said, the run and the request."""
    said = cli("run", "note", "side", *more)
    assert said.code == 3
    (asked,) = cli("approvals", "--asset", "ledger", "--json").rows
    return said, asked["run_id"], asked["id"]


def squeezed(text):
    """*text* with every run of spaces as one: columns are as wide as ids and times want them."""
    return " ".join(text.split())


def test_a_run_says_what_waits_and_how_to_decide(cli, project):
    """The row names whom it waits for, until when and the request; the last lines are the commands to look, decide and go on."""
    said, run, id = run_ledger(cli)
    (asked,) = cli("approvals", "--json").rows
    row = next(line for line in said.out.splitlines() if line.startswith("  ledger"))

    assert re.fullmatch(rf"  ledger +waiting  for group reviewers, until \d+ \w+ \d\d:\d\d \w+ +[\d.]+ m?s   {id}", row)
    assert said.out.endswith(f"Go on     flowstone run --resume {run}    when people have decided\n")
    assert f"  look    flowstone approvals show {id}\n" in said.out
    assert f'  decide  flowstone approvals approve {id} -m "why"    or reject\n' in said.out
    assert asked["status"] == "pending"


def test_show_says_everything_to_decide_upon(cli, project):
    """Which bytes, made from what, what is next, and whether I may decide: in words, within 100 columns."""
    _, run, id = run_ledger(cli)
    shown = cli("approvals", "show", id[:9], "--as", "grace")
    text = squeezed(shown.out)
    plain = cli("approvals", "show", id, "--json").json

    assert shown.code == 0
    assert f"{id} waiting for group reviewers (1 vote, not the requester)" in text
    assert "You are approving ledger, of pipeline shop" in text
    assert f'through {run}: "May we publish \\x1b[31m these figures?"' in text
    assert f"Exactly these bytes sha256 {plain['digest']}" in text
    assert "checked now: the stored bytes still have this digest" in text
    assert "Made from orders v1 (3 rows)" in text
    assert "Changed: nothing was current, so there is nothing to compare with" in text
    assert "If you approve these bytes become current; note is next (1 asset)" in text
    assert f"If you reject ledger ends rejected; 1 dependant is skipped; {run} ends partial" in text
    assert re.search(r"If nobody decides reminder \d.* expires \d.*, then as rejected", text)
    assert "You are grace (asserted) you may decide" in text
    assert "abcdef123456" not in shown.out
    assert [line for line in shown.out.splitlines() if len(line) > 100] == []


def test_who_may_not_decide_is_told_why(cli, project):
    """The requester and somebody who is not asked see so in advance, and are refused with the same sentence and exit code 2."""
    _, _, id = run_ledger(cli, "--as", "ada")
    requester = "You are ada (asserted): you requested this run, so you may not approve it (four eyes). Ask: group reviewers."
    stranger = "You are eve (asserted): you are not asked. Ask: group reviewers."

    for name, sentence in (("ada", requester), ("eve", stranger)):
        shown, tried = cli("approvals", "show", id, "--as", name), cli("approvals", "approve", id, "--as", name, "-m", "x")
        assert squeezed(sentence.removeprefix("You are ")) in squeezed(shown.out)
        assert "flowstone approvals approve" not in shown.out
        assert (tried.code, tried.out, tried.err) == (2, "", f"{sentence}\n")
    refused = cli("events", "--name", "flowstone.checkpoint.refused", "--json").rows
    assert [event["payload"]["reason"] for event in refused] == ["four_eyes", "not_approver"]


def test_approving_says_what_it_means(cli, project):
    """After a yes the current output and the command that goes on are named; pasted, it goes on; the second is too late."""
    _, run, id = run_ledger(cli)
    done = cli("approvals", "approve", id, "--as", "grace", "-m", "agrees with the bank")
    late = cli("approvals", "reject", id, "--as", "edsger", "-m", "no")
    shown = cli("approvals", "show", id, "--json").json

    assert done.out.splitlines() == [
        f"Approved by grace (asserted), {moment(ns_of(shown['ended_at']))}: ledger ({id})",
        f"Current: ledger is {shown['output']}, version 1, sha256 {shown['digest'][:8]}.., {shown['candidate']['size']} bytes",
        f"Go on: flowstone run --resume {run}",
    ]
    assert (late.code, late.out) == (2, "")
    assert late.err == f"Already decided: grace approved it {moment(ns_of(shown['ended_at']))}. Nothing changed.\n"
    assert "to go on: people have decided" in cli("runs").out
    assert cli("run", "--resume", run).code == 0
    assert f'({id}): "agrees with the bank"' in cli("explain", "ledger").out
    assert f"approved by grace (asserted), {moment(ns_of(shown['ended_at']))} ({id})" in cli("show", run).out


def test_rejecting_needs_a_reason_and_ends_the_run(cli, project):
    """Without a reason nothing is decided; with one, what is behind is skipped and every verb says why."""
    _, run, id = run_ledger(cli)
    without = cli("approvals", "reject", id, "--as", "grace")
    done = cli("approvals", "reject", id, "--as", "grace", "-m", "figures are wrong")

    assert without.code == 2
    assert without.err == f"error: a no needs a reason\n  flowstone approvals reject {id} -m 'why'\n"
    assert f"{run} has ended partial: flowstone show {run}" in done.out
    assert "note skipped ledger was rejected: figures are wrong" in squeezed(cli("show", run).out)
    missing = cli("explain", "ledger").out
    assert missing.startswith("ledger has no value: out_")
    assert "was rejected by grace (asserted), " in missing
    assert f'({id}): "figures are wrong"' in missing
    assert cli("outputs", "list", "ledger").out.rstrip().endswith("rejected")


def test_questions_name_what_waits(cli, project):
    """``runs``, ``show``, ``status`` and ``explain`` name the request that is waited for, and beside it an older value."""
    _, run, id = run_ledger(cli)
    until = "for group reviewers, until"

    assert f"waits for {id}" in cli("runs").out
    assert (
        f"Next: flowstone approvals show {id}    when people have decided: flowstone run --resume {run}" in cli("show", run).out
    )
    assert f"waits for approval {id}, {until}" in cli("status").out
    assert f"Waits for people: flowstone approvals show {id}" in cli("status").out
    assert re.match(rf"ledger has no value: out_\w+ waits for approval {id}, {until}", cli("explain", "ledger").out)
    assert cli("status", "ledger", "--json").json["approval"] == id
    assert [asked["id"] for asked in cli("show", run, "--json").json["approvals"]] == [id]

    assert cli("approvals", "approve", id, "--as", "grace").code == 0
    project(5)
    _, second, newer = run_ledger(cli)
    assert f"; a newer version waits for approval {newer}, {until}" in cli("status").out
    explained = cli("explain", "ledger").out
    assert "approved by grace (asserted), " in explained
    assert f"{second}: out_" in explained
    assert f"waits for approval {newer}, {until}" in explained
    assert f"Next: flowstone approvals show {newer}" in explained


def test_show_tells_what_has_changed_since_the_approved_version(cli, project):
    """The difference to the version that was current is named, with who had approved that one."""
    _, _, id = run_ledger(cli)
    cli("approvals", "approve", id, "--as", "grace", "-m", "fine")
    project(5)
    _, _, newer = run_ledger(cli)
    text = squeezed(cli("approvals", "show", newer).out)

    assert "Changed since version 1, which was current: approved by grace (asserted)," in text
    assert f"({id}) + added 3, 4 ~ changed total ~ changed rows 3 -> 5" in text


def test_the_preview_is_without_secrets(cli, project):
    """The beginning of the value is shown, what is named like a secret is not; its digest is said."""
    _, _, id = run_ledger(cli)
    shown = cli("approvals", "show", id, "--preview").out
    plain = cli("approvals", "show", id, "--preview", "--json").json["preview"]

    assert '    "total": 30,' in shown
    assert '"api_token": "[redacted]"' in shown
    assert "abcdef123456" not in shown
    assert f"sha256 {plain['digest']} of what is shown here" in shown
    assert cli("approvals", "show", id, "--preview", "--as-decided").code == 2


def test_as_decided_tells_nothing_of_the_present(cli, project):
    """What was known at the decision reads the same, byte for byte, after newer values and without the stored bytes."""
    _, run, id = run_ledger(cli)
    cli("approvals", "approve", id, "--as", "grace", "-m", "fine", "--preview")
    then = cli("approvals", "show", id, "--as-decided")
    seen = cli("approvals", "show", id, "--as-decided", "--json").json

    assert "the request        was shown before" in then.out
    assert "its bytes          hashed again, and the same" in then.out
    assert f"preview            sha256 {seen['votes'][0]['seen']['preview']}" in then.out
    assert "proof              none: they only said who they are" in then.out
    assert seen["now"] is None
    cli("run", "--resume", run)
    project(5)
    _, _, newer = run_ledger(cli)
    cli("approvals", "approve", newer, "--as", "grace", "-m", "fine")
    assert cli("outputs", "erase", "ledger", "--all-versions", "--reason", "gone", "--yes").code == 0
    assert cli("approvals", "show", id, "--as-decided") == then


def test_every_printed_command_can_be_pasted(cli, project, monkeypatch):
    """Each line that begins with ``flowstone``, in what these verbs print, is a command that does not fail; approving is last."""
    said, run, id = run_ledger(cli)
    printed = [said.out, cli("approvals").out, cli("approvals", "show", id, "--as", "grace").out, cli("approvals", "policy").out]
    printed += [cli("show", run).out, cli("status").out, cli("explain", "ledger").out, cli("runs").out]
    found = re.findall(
        r"flowstone (?:approvals|run|show|explain|outputs|status|logs|events|lineage|get)[^\n]*?(?=\n|   | asks |$)",
        "\n".join(printed),
    )
    commands = sorted({command.split("    ")[0].strip() for command in found}, key=lambda command: " approve " in command)
    reading = [command for command in commands if " reject " not in command and " --resume " not in command]

    assert {f"flowstone approvals show {id}", f"flowstone approvals show {id} --preview"} <= set(commands)
    assert f'flowstone approvals approve {id} --as grace -m "why"' in commands
    for command in reading:
        words = shlex.split(command)[1:]
        if "approve" in words and "--as" not in words:
            continue  # printed for whoever reads it; the requester may not
        assert cli(*words).code in (0, 1), command
    assert cli("run", "--resume", run).code == 0


def test_a_gate_before_the_computation(cli, project):
    """A step that is asked about before is a row without a duration; approving it says that it may be computed."""
    said = cli("run", "costly")
    (asked,) = cli("approvals", "list", "--json").rows
    shown = squeezed(cli("approvals", "show", asked["id"], "--as", "grace").out)
    done = cli("approvals", "approve", asked["id"], "--as", "grace")

    assert re.search(rf"  costly +waiting  for grace, until \d[^\n]* {asked['id']}\n", said.out)
    assert "You are approving computing costly, of pipeline shop" in shown
    assert "Because it has no value yet" in shown
    assert "a reminder " in shown
    assert "every 2d after that; it waits on" in shown
    assert cli("approvals", "show", asked["id"], "--preview").err.startswith(f"error: {asked['id']} is about no value")
    assert "costly may be computed, from exactly what was shown." in done.out
    assert cli("run", "--resume", asked["run_id"]).code == 0
    assert "approved by grace (asserted)" in cli("explain", "costly").out


def test_a_request_can_be_taken_back(cli, project):
    """Who requested the run takes the question back with a reason; it is in the history, and the list is empty."""
    _, _, id = run_ledger(cli, "--as", "ada")
    done = cli("approvals", "cancel", id, "--as", "ada", "-m", "asked too early")

    assert done.out.startswith(f"Cancelled: nobody is asked about ledger any more ({id}).\n")
    assert cli("approvals").out.startswith("Nothing waits for people.")
    assert f"{id}  ledger  cancelled by ada (asserted), " in cli("approvals", "history", "ledger").out
    assert cli("approvals", "history", "side").out == "Nobody was ever asked about side.\n"
    assert [asked["status"] for asked in cli("approvals", "list", "--all", "--json").rows] == ["cancelled"]


def test_policy_tells_the_gates_and_what_has_passed_them_by(cli, project):
    """The gates are told from the stored definitions; a decision by somebody who only said who they are breaks one: exit 1."""
    _, _, id = run_ledger(cli)
    listed = squeezed(cli("approvals", "policy").out)
    clean = cli("approvals", "policy", "--violations")
    cli("approvals", "approve", id, "--as", "grace", "-m", "fine")
    (broken,) = cli("approvals", "policy", "--violations", "--json").rows

    assert "ledger after of pipeline shop, 1 waiting approvers group reviewers (grace, edsger)" in listed
    assert "costly before of pipeline shop approvers grace" in listed
    assert "time 2d, then again" in listed
    assert clean.code == 0
    assert clean.out.startswith("Nothing breaks the gates in force (2 gates)")
    assert cli("approvals", "policy", "--violations").code == 1
    assert (broken["kind"], broken["asset"], broken["approval"]) == ("asserted", "ledger", id)


def test_the_same_decision_again_is_the_same(cli, project):
    """``--decision-id`` makes a repeated call harmless: it says so, exits with 0 and changes nothing."""
    _, _, id = run_ledger(cli)
    first, again = (cli("approvals", "approve", id, "--as", "grace", "--decision-id", "ticket-4711") for _ in range(2))

    assert first.code == again.code == 0
    assert again.out.startswith("The same decision was there already, and nothing changed: approved by grace (asserted), ")
    assert len(cli("approvals", "show", id, "--json").json["votes"]) == 1


def test_options_that_contradict_each_other_are_refused(cli, project, tmp_path):
    """A signature without what it is of, two ways of signing, and a file that is not there are refused."""
    _, _, id = run_ledger(cli)
    (tmp_path / "x.sig").write_text("x")
    wrong = {
        ("--signature", "x"): "what x is a signature of is not known",
        ("--signature", "x.sig"): "cannot read x: No such file or directory",
        ("--statement", "x.sig"): "--statement is what --signature is of",
        ("--sign", "k", "--signature", "x.sig"): "--sign signs here, --signature is made elsewhere",
    }

    for options, message in wrong.items():
        said = cli("approvals", "approve", id, "--as", "grace", *options)
        assert (said.code, said.err.splitlines()[0]) == (2, f"error: {message}")
    assert cli("outputs", "list", "ledger", "--asset", "side").code == 2


def on_terminal(arguments, answers, folder):
    """Run a command on a terminal of its own, answer each question when it is there; return what was shown, and the code."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "flowstone", *arguments]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, cwd=folder, close_fds=True) as process:
        os.close(follower)
        shown, waiting = "", list(answers)
        while True:
            try:
                part = os.read(leader, 4096).decode()
            except OSError:  # nobody has the other side open any more
                break
            if not part:
                break
            shown += part
            while waiting and waiting[0][0] in shown:
                os.write(leader, f"{waiting.pop(0)[1]}\n".encode())
        os.close(leader)
        return shown, process.wait()


def test_deciding_on_a_terminal(cli, project, tmp_path):
    """On a terminal the request is shown, a comment and a confirmation are asked for; only a yes to that decides."""
    _, _, id = run_ledger(cli)
    why, sure = "Why do you approve it", "It cannot be taken back"
    command = ("approvals", "approve", id, "--as", "grace")

    shown, code = on_terminal(command, [(why, "looked at it"), (sure, "n")], tmp_path)
    assert code == 0
    assert "checked now: the stored bytes still have this digest" in shown
    assert "Approve exactly these bytes, as grace (asserted)? It cannot be taken back [y/N]" in shown
    assert "Nothing was decided." in shown
    assert cli("approvals", "show", id, "--json").json["status"] == "pending"

    shown, code = on_terminal(command, [(why, "looked at it"), (sure, "y")], tmp_path)
    decided = cli("approvals", "show", id, "--json").json
    assert code == 0
    assert "Approved by grace (asserted), " in shown
    assert (decided["status"], decided["votes"][0]["comment"], decided["votes"][0]["seen"]["shown"]) == (
        "approved", "looked at it", True,
    )  # fmt: skip
    shown, code = on_terminal(("approvals", "reject", id, "--as", "edsger"), [], tmp_path)
    assert code == 2
    assert "Already decided: grace approved it " in shown
