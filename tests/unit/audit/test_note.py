"""Signed notes and tree heads: published vectors, and the games that are played with them."""

from __future__ import annotations

import base64

import pytest

from flowstone.audit.note import Signer, TreeHead, parse, public_key, sign, tree_head, verified_head
from flowstone.audit.tree import EMPTY
from flowstone.foundation.errors import ProofError

NEUMANN_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
NEUMANN_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The note in the documentation of Go's package golang.org/x/mod/sumdb/note, with its keys."""

ORIGIN = "laptop.example/1f0c"
SIGNER = Signer(ORIGIN, bytes(range(32)))
HEAD = TreeHead(ORIGIN, 14, bytes(range(32)))
NOTE = sign(HEAD.text(), [SIGNER])


def test_the_published_note_is_verified_and_made():
    """Go's example note is verified with its published key, and signing its text gives it byte for byte."""
    signer = Signer("PeterNeumann", NEUMANN_SEED)

    assert [str(key) for key in parse(NEUMANN).signed_by([public_key(NEUMANN_KEY)])] == [NEUMANN_KEY]
    assert str(signer.public) == NEUMANN_KEY
    assert sign(parse(NEUMANN).text, [signer]) == NEUMANN


def test_a_tree_head_comes_back():
    """A head that was signed is read as it was, and an empty tree has a head too."""
    assert verified_head(NOTE, ORIGIN, [SIGNER.public]) == HEAD
    empty = TreeHead(ORIGIN, 0, EMPTY)
    assert verified_head(sign(empty.text(), [SIGNER]), ORIGIN, [SIGNER.public]) == empty


def test_two_keys_may_sign_and_unknown_ones_are_ignored():
    """While keys change, old and new sign one head; whoever trusts either verifies it, whoever trusts neither does not."""
    new = Signer(ORIGIN, bytes(range(1, 33)))
    both = sign(HEAD.text(), [SIGNER, new])

    for key in (SIGNER.public, new.public):
        assert verified_head(both, ORIGIN, [key]) == HEAD
    with pytest.raises(ProofError, match="no key that is trusted"):
        verified_head(both, ORIGIN, [Signer(ORIGIN, bytes(32)).public])


GAMES = {
    "another text": NOTE.replace("\n14\n", "\n15\n"),
    "a changed signature": NOTE[:-10] + ("A" if NOTE[-10] != "A" else "B") + NOTE[-9:],
    "no last newline": NOTE[:-1],
    "no blank line": NOTE.replace("\n\n", "\n"),
    "carriage returns": NOTE.replace("\n", "\r\n"),
    "a control character": NOTE.replace("14", "14\x07"),
    "half a surrogate": NOTE.replace("14", "14\ud800"),
    "a hyphen for the dash": NOTE.replace("—", "-"),
    "a signature twice": NOTE + NOTE.rpartition("\n\n")[2],
    "seventeen signatures": sign(HEAD.text(), [SIGNER] + [Signer(f"k{n}", bytes([n]) * 32) for n in range(17)]),
    "a name with a space": NOTE.replace(f"— {ORIGIN} ", "— some name "),
    "an unpadded signature": NOTE.rstrip("=\n") + "\n",
    "no signature": HEAD.text() + "\n",
    "nothing": "",
    "too long": "x" * 70_000 + "\n" + NOTE,
    "another origin": sign(TreeHead("other.example/1", 14, HEAD.root).text(), [SIGNER]),
    "a leading zero": sign(HEAD.text().replace("14", "014"), [SIGNER]),
    "a sign": sign(HEAD.text().replace("14", "+14"), [SIGNER]),
    "a short root": sign(f"{ORIGIN}\n14\nAAAA\n", [SIGNER]),
    "an extension line": sign(HEAD.text() + "more\n", [SIGNER]),
    "only a size": sign(f"{ORIGIN}\n14\n", [SIGNER]),
}


@pytest.mark.parametrize("game", GAMES)
def test_a_note_that_is_played_with_is_refused(game):
    """Whatever is wrong with a signed tree head, it is no tree head."""
    with pytest.raises(ProofError):
        verified_head(GAMES[game], ORIGIN, [SIGNER.public])


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AAAA", NEUMANN_KEY.replace("c74f", "c74e"), NEUMANN_KEY[:-4], "a b+00000000+" + "A" * 44]
)
def test_what_is_no_public_key_is_refused(text):
    """A key whose parts do not fit together is refused, and the error shows it."""
    with pytest.raises(ProofError, match="key"):
        public_key(text)


def test_a_head_alone_is_read_strictly():
    """The text of a head without its note is read by the same rules."""
    assert tree_head(HEAD.text()) == HEAD
    with pytest.raises(ProofError):
        tree_head(HEAD.text() + "\n")
