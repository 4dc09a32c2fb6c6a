"""Who is alive is a fact: a process lives while it holds its lock."""

from __future__ import annotations

import fcntl
import threading

from flowstone.stores.liveness import ProcessLocks, hostname_of


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


def test_a_lock_that_nobody_holds_is_removed(tmp_path):
    """What a process left that died unregistered goes; a held lock stays."""
    living = ProcessLocks(tmp_path)
    living.hold("proc_living")
    (tmp_path / "proc_dead.lock").write_text("")
    ProcessLocks(tmp_path).sweep()

    left = sorted(path.name for path in tmp_path.iterdir())
    living.release()
    assert left == ["proc_living.lock"]


def test_a_lock_survives_sweeps_while_it_is_made(tmp_path):
    """However often others sweep, a process that has taken its lock holds a file that is there."""
    stop = threading.Event()

    def sweep():
        while not stop.is_set():
            ProcessLocks(tmp_path).sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(200):
            locks = ProcessLocks(tmp_path)
            locks.hold(f"proc_{number}")
            assert ProcessLocks(tmp_path).is_held(f"proc_{number}")
            locks.release()
    finally:
        stop.set()
        sweeper.join()


def test_a_host_is_who_shares_the_folder(tmp_path, monkeypatch):
    """Machines and containers may have the same name: only the folder's own id tells whether a lock can be asked."""
    here, too, elsewhere = (ProcessLocks(tmp_path / name) for name in ("a", "a", "b"))
    name = here.host()
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")

    assert here.shares(too.host())
    assert here.shares(name)
    assert not here.shares(elsewhere.host())
    assert hostname_of(too.host()) == "renamed"


def test_everybody_gets_the_same_id_of_a_folder(tmp_path):
    """However many ask first at the same moment, one id is made, and those who come later find it."""
    together, ids = threading.Barrier(8), []

    def ask():
        locks = ProcessLocks(tmp_path / "processes")
        together.wait()
        ids.append(locks.host())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 8
    assert {*ids, ProcessLocks(tmp_path / "processes").host()} == {ids[0]}


def test_asking_about_a_host_makes_no_folder(tmp_path):
    """Who only reads, as ``doctor`` does, leaves nothing behind: a folder that is not there is shared with nobody."""
    assert not ProcessLocks(tmp_path / "processes").shares("host:0123456789abcdef")
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nobody_else_is_here():
    """A store in memory is its process's alone, whatever the machine is called."""
    one, other = ProcessLocks(None), ProcessLocks(None)

    assert one.shares(one.host())
    assert not one.shares(other.host())
