"""Which commit a file's code is from: asked of git, within a bounded time, and never an error."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

SECONDS = 1.0  # git answers in a few milliseconds; a run does not wait for one that hangs
_OUR_OWN = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"})
"""Variables a git hook sets, which would make git speak of another repository than the file's."""
_QUESTIONS = {
    "commit": ("rev-parse", "--verify", "--quiet", "HEAD^{commit}"),
    "dirty": ("status", "--porcelain", "--untracked-files=normal"),
    "author": ("log", "-1", "--format=%ae"),
    "ignored": ("check-ignore", "--"),
}


class Commit(NamedTuple):
    """The commit that was checked out, and whether files differed from it or were not in it; ``None``: unknown, for *reason*."""

    commit: str | None
    dirty: bool | None
    reason: str = ""
    author: str = ""
    """The e-mail address of the commit's author; empty when it is not known."""


class _Answer(NamedTuple):
    out: str
    error: str


@functools.lru_cache(maxsize=64)
def commit_of(file: str, definition: str) -> Commit:  # noqa: ARG001 - what was loaded is of the commit it was loaded from
    """The commit that *file* is of; asked once for each *definition* this process has loaded from it."""
    if not Path(file).is_file():
        return Commit(None, None, "the assets are in no file")
    try:
        answers = _ask(Path(file))
    except FileNotFoundError:
        return Commit(None, None, "git is not installed")
    except OSError as error:
        return Commit(None, None, f"git could not be started: {error.strerror}")
    return _judge(answers, Path(file))


def _judge(answers: dict[str, _Answer | None], file: Path) -> Commit:
    """Read what git said; not its exit codes, which a host that ignores ``SIGCHLD`` takes away."""
    commit, dirty, author, ignored = (answers[name] for name in _QUESTIONS)
    late = f"git did not answer within {SECONDS:g} s"
    if commit is None:
        return Commit(None, None, late)
    if commit.error:
        return Commit(None, None, _refusal(commit.error))
    if ignored is not None and ignored.out:
        return Commit(None, None, f"{file.name} is ignored by its repository")
    if not commit.out:
        return Commit(None, None, "the repository has no commits")
    wrote = author.out.strip() if author is not None else ""
    if dirty is None or dirty.error:
        return Commit(commit.out.strip(), None, late if dirty is None else _refusal(dirty.error), wrote)
    return Commit(commit.out.strip(), bool(dirty.out), author=wrote)


def _refusal(said: str) -> str:
    if "not a git repository" in said:
        return "the folder is in no git repository"
    if "dubious ownership" in said:
        return "git refuses: the repository belongs to another user (safe.directory)"
    return f"git said: {(said.strip().splitlines() or ['nothing'])[0][:200]}"


def _ask(file: Path) -> dict[str, _Answer | None]:
    """Ask everything at once; what has no answer when the time is over is ``None``, and its process is gone."""
    until = time.monotonic() + SECONDS
    asked: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, words in _QUESTIONS.items():
            asked[name] = _start([*words, file.name] if name == "ignored" else words, file.parent)
        return {name: _answer(git, until) for name, git in asked.items()}
    finally:
        for git in asked.values():
            _end(git)


def _start(words: Any, folder: Path) -> subprocess.Popen[str]:
    """Start git: it takes no locks, runs no monitor, asks nobody and hears no Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if name not in _OUR_OWN}
    return subprocess.Popen(
        ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words], cwd=folder,
        env={**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}, start_new_session=True, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _answer(git: subprocess.Popen[str], until: float) -> _Answer | None:
    try:
        out, error = git.communicate(timeout=max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    return _Answer(out, error)


def _end(git: subprocess.Popen[str]) -> None:
    """Leave nothing of *git*: no process, none that it started, no pipe."""
    if git.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(git.pid, signal.SIGKILL)
        git.wait()
    pipes: tuple[IO[str] | None, ...] = (git.stdout, git.stderr)
    for pipe in pipes:
        if pipe is not None:
            pipe.close()
