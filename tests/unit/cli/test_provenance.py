"""Where a run's code is from, as ``show`` and ``explain`` tell it."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from flowstone.app.distributions import Installed, installed
from flowstone.app.repository import commit_of


@pytest.fixture
def repository(own, monkeypatch):
    """The project as a git repository with one commit; nothing of it is remembered."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    commit_of.cache_clear()
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "pipeline.py", "orders.txt"], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=own.folder, check=True, capture_output=True)
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=own.folder, check=True, capture_output=True, text=True)
    yield found.stdout.strip()
    commit_of.cache_clear()


@pytest.fixture
def others(monkeypatch):
    """A function after which other distributions seem to be installed."""

    def change(digest: str, count: int) -> None:
        fixed = Installed(digest * 64, count, ())
        monkeypatch.setattr("flowstone.app.identity.installed", lambda: fixed)
        monkeypatch.setattr("flowstone.app.explain.installed", lambda: fixed)

    return change


def test_show_says_which_code_ran(cli, own, repository, materialize):
    """A run's commit, whether files differed from it, and its distributions are one line, and whole in JSON."""
    (clean,) = materialize(own.folder, {"targets": "blob"})
    (own.folder / "orders.txt").write_text("changed")
    commit_of.cache_clear()
    (dirty,) = materialize(own.folder, {"targets": "blob"})
    here = installed()

    assert re.search(
        rf"\n  code +git {repository[:8]}\.\., {here.count} distributions \(sha256 {here.digest[:8]}\.\.", cli("show", clean).out
    )
    assert f"git {repository[:8]}.. with changes, " in cli("show", dirty).out
    recorded = cli("show", clean, "--json").json["run"]["provenance"]
    assert recorded["git"] == {"commit": repository, "dirty": False, "reason": "", "author": "test@example.org"}
    assert recorded["distributions"] == {"digest": here.digest, "count": here.count, "editable": list(here.editable)}
    assert cli("show", dirty, "--json").json["run"]["provenance"]["git"]["dirty"] is True


def test_what_is_not_known_has_its_reason(cli, shop):
    """Outside a repository the line says so, and the run is none the worse."""
    assert re.search(r"\n  code +commit unknown \(the folder is in no git repository\), \d+ dist", cli("show", shop.runs[0]).out)


def test_explain_names_what_the_digest_cannot_see(cli, own):
    """A module the code uses and the digest does not follow is said, though reading verbs import no code."""
    text = own.folder.joinpath("pipeline.py").read_text()
    own.folder.joinpath("pipeline.py").write_text("import json\n" + text.replace('b"\\x00\\xff"', "json.dumps([]).encode()"))
    assert cli("run", "blob", "--quiet").code == 0
    said = cli("explain", "blob")

    assert re.search(r"\n  not seen +The digest does not see changes in the modules json\.\n", said.out)
    assert cli("explain", "blob", "--json").json["notes"] == ["The digest does not see changes in the modules json."]
    assert "not seen" not in cli("explain", "total").out


def test_explain_says_that_other_distributions_are_installed_now(cli, own, others):
    """Distributions that changed since the value was made are a note: the value stays up to date."""
    others("ab", 7)
    said = cli("explain", "blob").out

    assert said.startswith("blob is current and up to date\n")
    assert f"\n  not seen     The distributions installed here now are not those {own.runs[0]} had" in said


def test_explain_compares_the_distributions_of_two_versions(cli, own, materialize, others):
    """Two versions made with other distributions differ in their environment, which says how many there were."""
    materialize(own.folder, {"targets": "blob", "force": True})
    assert re.search(r"\n  the same +.*environment", cli("explain", "blob").out)
    before = installed()
    others("ab", 7)
    materialize(own.folder, {"targets": "blob", "force": True})
    said = cli("explain", "blob").out

    changed = rf"environment +sha256 {before.digest[:8]}\.\. -> abababab\.\., {before.count} -> 7 distributions"
    assert re.search(rf"\n  {changed}\n", said)
    assert not re.search(r"\n  the same .*environment", said)
    assert "not seen" not in said
