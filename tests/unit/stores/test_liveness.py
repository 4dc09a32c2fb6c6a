"""Who is alive is a fact: a process lives while it holds its lock."""

from __future__ import annotations

import fcntl
import os
import threading

from flowstone.stores.liveness import ProcessLocks


def test_a_process_lives_while_it_holds_its_lock(tmp_path):
    """Others see the lock held until it is released; then the process is dead and its file gone."""
    mine, others = ProcessLocks(tmp_path), ProcessLocks(tmp_path)
    mine.hold("proc_1")

    assert others.is_held("proc_1")
    assert mine.is_held("proc_1")
    mine.release()
    assert not others.is_held("proc_1")
    assert list(tmp_path.iterdir()) == []


def test_asking_creates_no_file(tmp_path):
    """A process without a lock file is dead, and asking leaves no file behind."""
    assert not ProcessLocks(tmp_path).is_held("proc_none")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_the_process_s_not_the_thread_s(tmp_path):
    """A lock that one thread took is held after that thread has ended, and another thread lets it go."""
    mine, others = ProcessLocks(tmp_path), ProcessLocks(tmp_path)
    thread = threading.Thread(target=mine.hold, args=("proc_1",))
    thread.start()
    thread.join()
    held = others.is_held("proc_1")
    (tmp_path / "same_file").hardlink_to(tmp_path / "proc_1.lock")
    mine.release()

    assert held
    with (tmp_path / "same_file").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while somebody holds it


def test_in_memory_nobody_else_is_alive():
    """Without a folder there is nothing to hold and nobody to ask."""
    locks = ProcessLocks(None)
    locks.hold("proc_1")

    assert not locks.is_held("proc_1")
    locks.release()


def test_an_old_lock_that_nobody_holds_is_removed(tmp_path):
    """What a process left that died unregistered goes once it is old; a held lock and a new file stay."""
    living = ProcessLocks(tmp_path)
    living.hold("proc_living")
    for name in ("proc_old.lock", "proc_new.lock"):
        (tmp_path / name).write_text("")
    for name in ("proc_old.lock", "proc_living.lock"):
        os.utime(tmp_path / name, (1, 1))
    ProcessLocks(tmp_path).sweep()

    left = sorted(path.name for path in tmp_path.iterdir())
    living.release()
    assert left == ["proc_living.lock", "proc_new.lock"]
