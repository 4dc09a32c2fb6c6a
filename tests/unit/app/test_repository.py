"""Which commit a run's code was of: what git knows, and the reason where it knows nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowstone.app import repository
from flowstone.app.repository import Commit, commit_of

EMAIL = "test@example.org"
AUTHOR = ["-c", "user.name=test", "-c", f"user.email={EMAIL}", "-c", "commit.gpgsign=false"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """Nothing is remembered, and no settings of the machine's git apply."""
    commit_of.cache_clear()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    yield
    commit_of.cache_clear()


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *AUTHOR, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path):
    """A repository with one commit of ``pipeline.py``."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "pipeline.py").write_text("x = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def fake_git(tmp_path, monkeypatch):
    """A function that puts a shell script in git's place."""

    def make(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return make


def asked(folder: Path) -> Commit:
    return commit_of(str(folder / "pipeline.py"), "any")


def test_a_clean_checkout_is_its_commit(project):
    """The commit is the one that is checked out, and nothing differs from it."""
    assert asked(project) == Commit(git(project, "rev-parse", "HEAD"), dirty=False, author=EMAIL)


@pytest.mark.parametrize("name", ["pipeline.py", "beside.py"])
def test_changed_and_new_files_make_it_dirty(project, name):
    """A file that differs from the commit, and one that is not in it, are told; ignored ones are not."""
    (project / name).write_text("x = 2\n")

    assert asked(project) == Commit(git(project, "rev-parse", "HEAD"), dirty=True, author=EMAIL)


def test_what_is_ignored_is_not_of_the_commit(project):
    """A pipeline that its repository ignores has no commit, and files that are ignored do not make it dirty."""
    (project / ".gitignore").write_text("*.log\nscratch/\n")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "second")
    (project / "run.log").write_text("")
    (project / "scratch").mkdir()
    (project / "scratch/pipeline.py").write_text("")

    assert asked(project).dirty is False
    assert asked(project / "scratch") == Commit(None, None, "pipeline.py is ignored by its repository")


def test_a_submodule_is_a_repository_of_its_own(project, tmp_path):
    """The commit of a pipeline in a submodule is the submodule's, not that of the repository around it."""
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(project), "inner")
    git(outer, "commit", "-q", "-m", "outer")

    assert asked(outer / "inner") == Commit(git(project, "rev-parse", "HEAD"), dirty=False, author=EMAIL)


def test_asking_changes_nothing(project):
    """Git's index is left as it was, although git would like to refresh it."""
    os.utime(project / "pipeline.py", (1, 1))
    before = (project / ".git/index").read_bytes()
    asked(project)

    assert (project / ".git/index").read_bytes() == before
    assert not (project / ".git/index.lock").exists()


def test_a_hooks_variables_do_not_change_the_answer(project, tmp_path, monkeypatch):
    """Inside a git hook of another repository, the file's own repository is asked."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    expected = asked(project)
    commit_of.cache_clear()
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    assert asked(project) == expected


# -- where nothing is known ----------------------------------------------------------------------------------------------


def test_no_repository(tmp_path):
    """A folder outside any repository says so."""
    (tmp_path / "pipeline.py").touch()

    assert asked(tmp_path) == Commit(None, None, "the folder is in no git repository")


def test_no_commits(tmp_path):
    """A repository without a commit says so."""
    git(tmp_path, "init", "-q")
    (tmp_path / "pipeline.py").touch()

    assert asked(tmp_path) == Commit(None, None, "the repository has no commits")


@pytest.mark.parametrize("file", ["<stdin>", "", "gone/pipeline.py"])
def test_no_file(file):
    """Assets that were typed in, or whose file is gone, are of no commit."""
    assert commit_of(file, "any") == Commit(None, None, "the assets are in no file")


def test_no_git(project, monkeypatch):
    """Without git the commit is unknown."""
    monkeypatch.setenv("PATH", str(project))

    assert asked(project) == Commit(None, None, "git is not installed")


def test_git_that_cannot_be_started(project, tmp_path, monkeypatch):
    """A git that the system will not start is a reason, not an error."""
    (tmp_path / "git").write_bytes(b"\x7fELF nothing")
    (tmp_path / "git").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert asked(project) == Commit(None, None, "git could not be started: Exec format error")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_somebody_elses_repository(project):
    """A repository that git refuses because of its owner is told as that."""
    os.chown(project, 12345, 12345)
    os.chown(project / ".git", 12345, 12345)

    assert asked(project).reason == "git refuses: the repository belongs to another user (safe.directory)"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("fatal: detected dubious ownership in repository at '/x'", "git refuses: the repository belongs to another user"),
        ("fatal: bad config line 1 in file .git/config", "git said: fatal: bad config line 1 in file .git/config"),
    ],
)
def test_what_git_refuses_is_told(project, fake_git, said, reason):
    """Whatever git complains about is the reason, in one line."""
    fake_git(f'echo "{said}\nhint: more" >&2; exit 128')

    assert asked(project)[:2] == (None, None)
    assert asked(project).reason.startswith(reason)
    assert "\n" not in asked(project).reason


def test_a_git_that_hangs_is_ended(project, fake_git, tmp_path, monkeypatch):
    """A git that does not answer is given up after a bounded time, and nothing of it is left running."""
    monkeypatch.setattr(repository, "SECONDS", 0.3)
    fake_git(f"sleep 600 & echo $! >> {tmp_path}/pids; echo $$ >> {tmp_path}/pids; wait")
    started = time.monotonic()

    assert asked(project) == Commit(None, None, "git did not answer within 0.3 s")
    assert time.monotonic() - started < 20
    for pid in (tmp_path / "pids").read_text().split():
        assert is_over(int(pid)), f"process {pid} still runs"


def test_a_status_that_takes_too_long_leaves_the_commit(project, fake_git, monkeypatch):
    """In a repository too large to look through in time the commit is known, and whether it is dirty is not."""
    monkeypatch.setattr(repository, "SECONDS", 2.0)
    fake_git('case "$*" in *status*) exec sleep 600;; *rev-parse*) echo 0123abcd;; esac')

    assert asked(project) == Commit("0123abcd", None, "git did not answer within 2 s")


def test_it_is_asked_once_for_each_definition(project):
    """What this process has loaded is of the commit it was loaded from, whatever is checked out since."""
    first = asked(project)
    (project / "pipeline.py").write_text("x = 2\n")

    assert asked(project) is first
    assert commit_of(str(project / "pipeline.py"), "another").dirty is True


def test_a_host_that_ignores_its_children_gets_the_same_answer(project):
    """Where ``SIGCHLD`` is ignored there are no exit codes; the answer needs none."""
    code = (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from flowstone.app.repository import commit_of\n"
        f"print(commit_of({str(project / 'pipeline.py')!r}, 'any')[:2])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == str((git(project, "rev-parse", "HEAD"), False))


def is_over(pid: int) -> bool:
    """Whether the process is gone, or dead and not yet taken note of; waits for up to ten seconds."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
