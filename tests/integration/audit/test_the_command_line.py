"""The audit log as people use it: every verb of ``flowstone audit``, and ``flowstone evidence``, on a project with runs."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowstone import FlowStone
from flowstone.app.pipelines import load_pipeline
from flowstone.audit.verify_evidence import verify
from flowstone.cli.grammar import Given
from flowstone.cli.main import execute
from flowstone.cli.session import find

PIPELINE = """
from flowstone import Pipeline, asset


@asset
def orders(ctx):
    ctx.log.warning("three of them")
    return [1, 2, 3]


@asset
def total(orders):
    return {"sum": sum(orders)}


@asset
def broken(total):
    raise ValueError("no such thing")


pipeline = Pipeline("shop", [orders, total, broken])
"""


class Said(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


class Project:
    """A folder with a pipeline, and the command line in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], tell: Callable[[FlowStone], None]) -> None:
        self.folder, self._capsys, self._tell = folder, capsys, tell
        self.database = folder / ".flowstone" / "flowstone.db"

    def run(self) -> str:
        """Run the pipeline, let every record have its entry, and return the run's id."""
        found = find(Given(pipeline=str(self.folder / "pipeline.py")))
        with FlowStone(load_pipeline("pipeline.py", self.folder), settings=found.settings, echo=lambda _: None) as flow:
            run_id = flow.run(force=True).run_id
            self._tell(flow)
        return run_id

    def say(self, *arguments: str) -> Said:
        """Run a command line in this process."""
        code = execute(list(arguments))
        out, err = self._capsys.readouterr()
        return Said(code, out, err)

    def audit(self, *arguments: str) -> Said:
        """Run ``flowstone audit``."""
        return self.say("audit", *arguments)

    def json(self, *arguments: str) -> Any:
        """The one object that ``flowstone audit --json`` prints."""
        return json.loads(self.audit(*arguments, "--json").out)

    def trust(self) -> list[str]:
        """The options with which anybody verifies."""
        keys = [json.loads(line) for line in self.audit("keys", "--json").out.splitlines()]
        trusted = [part for key in keys if key["until"] is None for part in ("--key", key["key"])]
        return ["--origin", self.json("head")["origin"], *trusted]

    def tamper(self, sql: str) -> None:
        """Change the database past FlowStone."""
        with closing(sqlite3.connect(self.database)) as plain:
            plain.executescript(sql)


@pytest.fixture
def project(tmp_path, monkeypatch, capsys, tell):
    """A project with one run whose records all have their entries."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FLOWSTONE_ACTOR", "dev")
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "pipeline.py").write_text(PIPELINE)
    made = Project(folder, capsys, tell)
    made.run_id = made.run()
    yield made
    sys.modules.pop("pipeline", None)


# -- verify -------------------------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first(project):
    """An intact log is said to be, with what was compared, and that its anchors are on this machine only."""
    said = project.audit("verify")

    assert (said.code, said.out.split()[0], said.err) == (0, "INTACT", "")
    assert re.search(r"0-\d+ re-hashed: match signed head \d+ \(.* UTC, key [0-9a-f]{8}, pinned in the user's state", said.out)
    assert "2 of 2 current outputs re-hashed as recorded" in said.out
    assert "only on this machine" in said.out
    assert project.json("verify")["verdict"] == "INTACT"


def test_a_changed_record_is_told_with_what_it_taints(project):
    """A digest that was edited is found with which side is signed, what it taints and what to do; the log is trustworthy."""
    project.tamper("UPDATE output SET digest = 'ab' || substr(digest, 3) WHERE asset = 'total'")
    said = project.audit("verify")
    plain = project.audit("verify", "--json")

    assert (said.code, said.out.split()[0]) == (1, "TAMPERED")
    assert "digest = ab" in said.out
    assert "what the log says is signed" in said.out
    assert "Trustworthy: all" in said.out
    assert "Not trustworthy: materialization:" in said.out
    assert (plain.code, json.loads(plain.out)["verdict"]) == (1, "TAMPERED")
    assert project.audit("verify", "--no-reconcile").code == 0


def test_other_bytes_of_an_output_are_found(project):
    """A file that is not what was recorded is a finding, although log and records agree."""
    file = next(path for path in project.folder.glob(".flowstone/outputs/**/*") if path.is_file() and "total" in str(path))
    file.chmod(0o644)
    file.write_bytes(b"other")
    said = project.audit("verify")

    assert (said.code, "other bytes than were recorded" in said.out) == (1, True)


def test_a_log_without_a_trusted_key_is_incomplete(project, tmp_path):
    """Without the state folder nobody's signature is checked, and that is said; a key that is given is trusted instead."""
    trust = project.trust()
    shutil.rmtree(tmp_path / "state")
    said = project.audit("verify")

    assert (said.code, said.out.split()[0]) == (2, "INCOMPLETE")
    assert "no key is trusted" in said.out
    assert project.audit("verify", *trust[2:]).code == 0


def test_a_database_in_the_place_of_another_is_found(project):
    """A log that was dropped and begun again is not the one this user knows, until that is declared."""
    shutil.rmtree(project.folder / ".flowstone")
    project.run()
    said = project.audit("verify")
    declared = project.audit("reincarnate", "--reason", "I deleted the project's folder")

    assert (said.code, declared.code, project.audit("verify").code) == (1, 0, 0)


def test_a_restored_backup_is_found_and_mended(project, tmp_path):
    """After an older backup is restored, verify says so and names the way back; with it the log goes on and is intact."""
    assert project.say("db", "backup", str(tmp_path / "backup.db")).code == 0
    project.run()
    restored = project.say("db", "restore", str(tmp_path / "backup.db"), "--replace")
    said = project.audit("verify")

    assert (restored.code, said.code, "flowstone audit reincarnate" in said.out) == (0, 1, True)
    assert project.audit("reincarnate", "--reason", "disk failure").code == 0
    assert project.audit("verify").code == 0
    assert project.json("head")["origin"].endswith("/2")


def test_one_backup_can_be_restored_twice(project, tmp_path):
    """Restored once more from the same backup, the log goes on under a number that no tree head has had."""
    project.say("db", "backup", str(tmp_path / "backup.db"))
    for _ in range(2):
        project.run()
        project.say("db", "restore", str(tmp_path / "backup.db"), "--replace")
        assert project.audit("reincarnate", "--reason", "disk failure").code == 0
    said = project.audit("verify")

    assert (said.code, said.out.split()[0]) == (0, "INTACT")
    assert project.json("head")["origin"].endswith("/3")


@pytest.mark.parametrize("arguments", [
    ("verify", "--nonsense"), ("verify", "--key", "x"), ("verify-export", "none", "--origin", "x"), ("verify-export", "x"),
    ("verify-proof", "none", "--origin", "x", "--key", "bad"),
])  # fmt: skip
def test_a_verification_that_is_asked_wrongly_exits_with_3(project, arguments):
    """What is no verdict has an exit code that is none."""
    assert project.audit(*arguments).code == 3


def test_anchors_elsewhere_are_compared(project, tmp_path, monkeypatch):
    """With an anchor on another volume nothing is said about this machine; given as a path, anchors are compared as well."""
    folder = tmp_path / "anchors"
    folder.mkdir()
    added = project.audit("anchors", "add", f"file:{folder}")
    settings = [line[2:] for line in added.out.splitlines() if line.startswith("  ")]
    (project.folder / "flowstone.toml").write_text("\n".join(settings))
    project.run()
    project.audit("seal")
    listed, said = project.audit("anchors"), project.audit("verify")
    (project.folder / "flowstone.toml").unlink()
    given = project.json("verify", "--anchors", str(folder))

    assert f"file:{folder}" in listed.out
    assert (said.code, "only on this machine" in said.out) == (0, False)
    assert (given["verdict"], any("shop" not in name and str(folder) in name for name in given["anchors"])) == ("INTACT", True)


# -- asking -------------------------------------------------------------------------------------------------------------------


def test_entries_are_listed_by_what_is_asked(project):
    """Entries are found by actor, action, subject, asset, run and time, newest first, page by page."""
    every = [json.loads(line) for line in project.audit("list", "--json").out.splitlines()]
    page = project.audit("list", "--limit", "2")
    before = int(re.search(r"--before (\d+)", page.out)[1])
    numbers = {
        "all": [entry["seq"] for entry in every],
        "asset": len(project.audit("list", "--asset", "total").out.splitlines()),
        "action": len(project.audit("list", "--action", "run.*").out.splitlines()),
        "run": len(project.audit("list", "--run", project.run_id).out.splitlines()),
        "nobody": project.audit("list", "--actor", "ceo").out,
        "tomorrow": project.audit("list", "--from", "2999-01-01").out,
        "until now": len(project.audit("list", "--to", "2999-01-01").out.splitlines()),
    }

    assert numbers["all"] == sorted(numbers["all"], reverse=True)
    assert numbers["all"][:2] == [before + 1, before]
    assert json.loads(project.audit("list", "--before", str(before), "--json", "--limit", "1").out)["seq"] == before - 1
    assert (numbers["asset"], numbers["action"], numbers["nobody"]) == (1, 2, "No entries are as asked for.\n")
    assert (numbers["tomorrow"], numbers["until now"]) == ("No entries are as asked for.\n", len(every))
    assert numbers["run"] >= 5


def test_an_entry_is_shown_with_what_it_discloses(project):
    """One entry is shown by its number: who, what, the data that is signed, and what is only disclosed."""
    failed = json.loads(project.audit("list", "--action", "materialization.failed", "--json").out)
    said = project.audit("show", str(failed["seq"]))

    assert "materialization.failed" in said.out
    assert "dev (asserted)" in said.out
    assert "no such thing" in said.out
    assert project.audit("show", "9999").code == 2


def test_what_somebody_wrote_moves_no_cursor(project):
    """Control characters in an entry are escaped when it is listed or shown."""
    done = project.say("hold", "add", "total", "--reason", "a\x1b[31m\nb")
    with FlowStone(settings=find(Given()).settings) as flow:
        project._tell(flow)
    said = project.audit("list", "--action", "hold.added").out

    assert done.code == 0
    assert "\x1b" not in said
    assert len(said.splitlines()) == 1


def test_the_head_and_its_consistency_are_shown(project):
    """The newest tree head is shown as the note it is, and an older one is proven to be its beginning."""
    first = project.json("head")["size"]
    project.run()
    said = project.audit("head", "--since", str(first))
    plain = project.json("head", "--since", str(first))

    assert plain["note"].strip() in said.out
    assert (len(plain["consistency"]) > 0, plain["unsealed"]) == (True, 0)
    assert project.json("head", "--size", str(first))["size"] == first


def test_entries_are_followed_as_they_are_sealed(project):
    """Following from an entry gives what was sealed after it, each once."""
    with FlowStone(settings=find(Given()).settings) as flow:
        followed = flow.audit.follow(after=1)
        found = [next(followed).seq for _ in range(3)]

    assert found == [2, 3, 4]


# -- giving out ---------------------------------------------------------------------------------------------------------------


def test_what_is_exported_and_proven_is_verified_elsewhere(project, tmp_path, monkeypatch):
    """An export and a proof are verified in an empty folder, with origin and key and nothing else."""
    trust = project.trust()
    for arguments in (("export", "all"), ("export", "some", "--asset", "total"), ("prove", "2", "-o", "two.tlog-proof")):
        assert project.audit(*arguments).code == 0
    (tmp_path / "empty").mkdir()
    for name in ("all", "some", "two.tlog-proof"):
        shutil.move(project.folder / name, tmp_path / "empty" / name)
    monkeypatch.chdir(tmp_path / "empty")
    shutil.rmtree(project.folder)
    monkeypatch.delenv("FLOWSTONE_STATE_HOME")
    whole, some = project.audit("verify-export", "all", *trust), project.audit("verify-export", "some", *trust, "--json")
    proof = project.audit("verify-proof", "two.tlog-proof", *trust)

    assert (whole.code, whole.out.split()[0]) == (0, "INTACT")
    assert (some.code, json.loads(some.out)["findings"], json.loads(some.out)["entries"]) == (2, [], 1)
    assert (proof.code, proof.out.split()[:3]) == (0, ["INTACT", "entry", "2"])


def test_a_file_that_is_there_is_not_replaced(project):
    """Exports, proofs, bundles and archives go to new files only."""
    Path("there").write_text("mine")
    for arguments in (
        ("audit", "export", "there"), ("audit", "prove", "0", "-o", "there"), ("evidence", project.run_id, "-o", "there"),
        ("evidence", "--verifier", "-o", "there"), ("audit", "sample", "--asset", "total", "--seed", "1", "-o", "."),
    ):  # fmt: skip
        assert project.say(*arguments).code == 2

    assert Path("there").read_text() == "mine"


def verified(folder, *arguments):
    """Run the stand-alone program in an interpreter in which FlowStone is not there."""
    alone = "import sys, runpy; sys.modules['flowstone'] = None; runpy.run_path('verify_evidence.py', run_name='__main__')"
    program = [sys.executable, "-I", "-c", alone, *arguments]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return Said(done.returncode, done.stdout, done.stderr)


def test_evidence_is_verified_without_flowstone(project, tmp_path):
    """A bundle is proven by a program that needs Python and cryptography, and no byte of it can be changed."""
    trust = project.trust()
    (tmp_path / "auditor").mkdir()
    bundle = tmp_path / "auditor" / "run.evidence"
    assert project.say("evidence", project.run_id, "-o", str(bundle)).code == 0
    assert project.say("evidence", "--verifier", "-o", str(bundle.with_name("verify_evidence.py"))).code == 0
    said = verified(bundle.parent, "run.evidence", *trust)
    other = verified(bundle.parent, "run.evidence", "--origin", "laptop/other", *trust[2:])
    bundle.write_bytes(bundle.read_bytes().replace(b"three of them", b"four of them."))
    changed = verified(bundle.parent, "run.evidence", *trust)

    assert (said.code, said.out.split()[0], said.err) == (0, "PROVEN", "")
    assert (other.code, changed.code, changed.out.split()[0]) == (1, 1, "REFUSED")


def test_no_byte_of_a_bundle_can_be_changed(project, tmp_path):
    """Whatever byte of a bundle is changed, taken out or added, it is refused."""
    trust = project.trust()
    project.say("evidence", project.run_id, "-o", str(tmp_path / "b"))
    whole = (tmp_path / "b").read_bytes()
    places = [*range(0, len(whole), 97), *range(len(whole) - 400, len(whole))]
    accepted = [
        place for place in places
        for changed in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:place] + whole[place + 1 :],
                        whole[:place] + b" " + whole[place:])
        if verify(changed, trust[1], trust[3], lambda _: None) != 1
    ]  # fmt: skip

    assert verify(whole, trust[1], trust[3], lambda _: None) == 0
    assert accepted == []
    assert verify(whole + b"\n", trust[1], trust[3], lambda _: None) == 1


def test_records_that_no_entry_tells_of_are_found_in_a_bundle(project, tmp_path):
    """A bundle that is signed now of records that were changed before does not hold: its entries say otherwise."""
    trust, said = project.trust(), []
    project.tamper("UPDATE output SET digest = 'ab' || substr(digest, 3) WHERE asset = 'total'")
    project.tamper("UPDATE lineage SET parameter = 'other' WHERE parameter = 'orders'")
    project.say("evidence", project.run_id, "-o", str(tmp_path / "b"))

    assert verify((tmp_path / "b").read_bytes(), trust[1], trust[3], said.append) == 1
    assert said == [f"DIFFERS  total: its {name} is not what its entry says" for name in ("digest", "inputs_digest")]


def test_a_bundle_is_the_same_file_each_time(project, tmp_path):
    """While the log does not grow, the evidence of a run is byte for byte the same."""
    for name in ("one", "two"):
        project.say("evidence", project.run_id, "-o", str(tmp_path / name))

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_sample_is_the_same_for_everybody_who_knows_the_seed(project, tmp_path):
    """A sample has as many outputs as asked, says from how many they are, and is drawn alike by everybody."""
    for _ in range(4):
        project.run()
    drawn = {}
    for name, seed in (("one", "2026"), ("two", "2026"), ("three", "other")):
        said = project.audit("sample", "--asset", "total", "--n", "3", "--seed", seed, "-o", str(tmp_path / name))
        drawn[name] = json.loads((tmp_path / name / "sample.json").read_text())
        assert said.code == 0
    bundle = drawn["one"]["chosen"][0]["file"]

    assert drawn["one"] == drawn["two"]
    assert drawn["one"]["chosen"] != drawn["three"]["chosen"]
    assert (drawn["one"]["population"], len(drawn["one"]["chosen"])) == (5, 3)
    assert verified(tmp_path / "one", bundle, *project.trust()).code == 0


# -- changing -----------------------------------------------------------------------------------------------------------------


def test_keys_are_rotated_by_one_verb(project):
    """After a rotation two keys are listed, the log is intact, and the head of both signatures can be shown."""
    rotated = project.audit("keys", "rotate", "--reason", "yearly")
    size = re.search(r"--size (\d+)", rotated.out)[1]
    project.run()
    keys = [json.loads(line) for line in project.audit("keys", "--json").out.splitlines()]

    assert (rotated.code, len(keys), keys[0]["until"] is not None, keys[1]["until"]) == (0, 2, True, None)
    assert project.audit("head", "--size", size).out.count("\u2014 ") == 2
    assert project.audit("verify").code == 0


def test_a_reason_is_redacted_by_one_verb(project):
    """A redacted message is gone from every answer, and the log is as intact as before."""
    seq = json.loads(project.audit("list", "--action", "materialization.failed", "--json").out)["seq"]
    done = project.audit("redact", str(seq), "--field", "message", "--reason", "it names a person")
    shown = project.audit("show", str(seq))

    assert (done.code, "no such thing" in shown.out, "redacted     message" in shown.out) == (0, False, True)
    assert project.audit("verify", "--no-reconcile").code == 0


def test_a_log_is_pruned_by_one_verb(project, tmp_path):
    """A prune says what it wrote and deleted; with its archive the log is verified as before, and without it that is said."""
    for _ in range(60):
        project.run()
    short = project.audit("prune", str(tmp_path / "none"), "--older-than", "1d")
    done = project.audit("prune", str(tmp_path / "archive"), "--older-than", "0s")
    without, with_it = project.audit("verify"), project.audit("verify", "--archive", str(tmp_path / "archive"))

    assert (short.code, (tmp_path / "none").exists(), done.code) == (2, False, 0)
    assert (without.code, without.out.split()[0], "archive" in without.out) == (2, "INCOMPLETE", True)
    assert (with_it.code, with_it.out.split()[0]) == (0, "INTACT")
    assert project.audit("prune", "x").code == 2
