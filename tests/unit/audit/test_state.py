"""What a log's keeper remembers outside the project: its key, the keys it trusts, the newest head; and whose log it is."""

from __future__ import annotations

import stat
import threading

import pytest

from flowstone.audit.note import Signer, TreeHead
from flowstone.audit.origins import incarnation, new_origin, of_incarnation, permanent
from flowstone.audit.state import PinnedKey, State, state_of
from flowstone.foundation.errors import AuditError

ORIGIN = "laptop/1f0c"


def test_of_two_that_make_a_key_both_have_the_same(tmp_path):
    """A key is made once, whole, for its owner's eyes alone; whoever comes second takes the first one's."""
    start, made = threading.Barrier(4), []

    def make():
        start.wait()
        made.append(State(tmp_path / "log").key(ORIGIN, create=True).public)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 4
    assert len(set(made)) == 1
    assert stat.S_IMODE((tmp_path / "log" / "key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["key"]


def test_a_key_that_is_damaged_is_not_replaced(tmp_path):
    """A key file that cannot be read is an error that names it: another key would sign what nobody trusts."""
    state = State(tmp_path)
    (tmp_path / "key").write_text("nonsense!")

    with pytest.raises(AuditError, match="cannot be read"):
        state.key(ORIGIN, create=True)


def test_where_nothing_can_be_written_there_is_no_key(tmp_path):
    """Where the folder cannot be made there is no key, and asking for one is no error."""
    (tmp_path / "file").write_text("")

    assert State(tmp_path / "file" / "log").key(ORIGIN, create=True) is None


def test_pinned_keys_come_back(tmp_path):
    """The keys that are trusted, and for which sizes of which incarnations, are read as they were written."""
    one, two = Signer(ORIGIN, bytes(32)).public, Signer(ORIGIN, bytes(range(32))).public
    pins = [PinnedKey(one, 0, 90), PinnedKey(two, 90, None, 1, 1), PinnedKey(two, 7, 9, 2, 3)]
    State(tmp_path).pin(pins)

    assert State(tmp_path).pinned() == pins


@pytest.mark.parametrize(
    ("origin", "size", "is_covered"),
    [(ORIGIN, 9, False), (ORIGIN, 10, True), (ORIGIN, 99, True), (f"{ORIGIN}/2", 3, True), (f"{ORIGIN}/3", 20, True),
     (f"{ORIGIN}/3", 21, False), (f"{ORIGIN}/4", 1, False)],
)  # fmt: skip
def test_a_key_is_trusted_from_one_head_until_another(origin, size, is_covered):
    """After a restore sizes begin anew: a key of an earlier incarnation is trusted for the smaller sizes of a later one."""
    pin = PinnedKey(Signer(ORIGIN, bytes(32)).public, 10, 20, 1, 3)

    assert pin.covers(TreeHead(origin, size, bytes(32))) is is_covered


def test_each_log_has_a_folder_of_its_own(tmp_path):
    """Logs whose names differ in what a file's name cannot hold have different folders below the user's state."""
    folders = {state_of(origin, {"FLOWSTONE_STATE_HOME": str(tmp_path)}).folder for origin in ("a/b", "a b", "a_b", "a/B")}

    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {tmp_path / "audit"}
    other = state_of("a/b", {"XDG_STATE_HOME": str(tmp_path)}).folder
    assert other.parent == tmp_path / "flowstone" / "audit"


def test_an_origin_names_its_incarnation():
    """The origin of each incarnation leads back to the permanent one, and a name of people's makes one that keys can have."""
    assert [of_incarnation(f"{ORIGIN}/7", number) for number in (1, 2, 12)] == [ORIGIN, f"{ORIGIN}/2", f"{ORIGIN}/12"]
    assert [incarnation(origin) for origin in (ORIGIN, f"{ORIGIN}/2", f"{ORIGIN}/12")] == [1, 2, 12]
    made = new_origin("Ann's +laptop / ü")
    assert permanent(f"{made}/3") == made
    assert Signer(made, bytes(32)).public.name == made
