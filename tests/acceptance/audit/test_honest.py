"""Honest logs: whatever happens in them, verifying finds nothing."""

from __future__ import annotations

import shutil

import pytest

PARTS = [pytest.param(range(first, 9_600, 8), id=f"1200 from {first}", marks=pytest.mark.prove) for first in range(8)]
LOGS = [pytest.param(range(95), id="95"), pytest.param(range(95, 190), id="95 more"), *PARTS]
ON_SERVER = [pytest.param(range(10), id="10"), pytest.param(range(10, 410), id="400", marks=pytest.mark.prove)]


def test_an_honest_history_is_intact(world):
    """Records, entries, restarts, new keys and clocks that are set: nothing is found, and a trusted key signed every entry."""
    checked = world.live(120).verify()

    assert checked.findings == []
    assert (checked.verdict, checked.incomplete) == ("INTACT", [])
    assert checked.signed_size == checked.entries > 100
    assert checked.disclosures > 20
    assert checked.anchors > 5


def hold_intact(world, seed):
    """Let a history of its own length happen, and verify it with what waits for the sealer."""
    world.live(seed % 12)
    world.hold()
    checked = world.verify()
    assert (checked.verdict, checked.findings, checked.unsealed) == ("INTACT", [], 1), seed
    assert checked.signed_size == checked.entries, seed


@pytest.mark.parametrize("seeds", LOGS)
def test_no_honest_log_raises_an_alarm(make_world, tmp_path, seeds):
    """Of many random histories none is called tampered or incomplete, at any moment that was looked at."""
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = make_world(f"sqlite:///{folder / 'flowstone.db'}", seed, folder)
        hold_intact(world, seed)
        world.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("seeds", ON_SERVER)
def test_no_honest_log_on_a_server_raises_an_alarm(make_world, new_postgres_url, tmp_path, seeds):
    """The same on PostgreSQL."""
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = make_world(new_postgres_url(), seed, folder)
        hold_intact(world, seed)
        world.close()
