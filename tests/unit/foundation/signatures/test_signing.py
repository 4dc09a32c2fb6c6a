"""Signing with a key in a file, where nothing but the file is needed."""

from __future__ import annotations

import pytest

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.signing import sign_with
from flowstone.foundation.signatures.statement import NAMESPACE


@pytest.fixture
def key(vectors, tmp_path):
    """A private key that only its owner can read."""
    path = tmp_path / "id_ed25519"
    path.write_bytes((vectors.folder / "ed25519.key").read_bytes())
    path.chmod(0o600)
    return path


@pytest.fixture
def no_programs(monkeypatch, tmp_path):
    """A machine without ssh-keygen."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_private_key_without_a_passphrase_needs_no_program(vectors, key, no_programs):
    """The signature is the one that ssh-keygen makes."""
    assert sign_with(key, vectors.statement, NAMESPACE) == vectors.signatures["ed25519"]


def test_a_key_that_others_can_read_proves_nothing(vectors, key):
    """As OpenSSH, it refuses a private key of one's own that others can read, and says what to do."""
    key.chmod(0o640)
    with pytest.raises(SignatureError, match=f"others can read the private key .*\n  chmod 600 {key}"):
        sign_with(key, vectors.statement, NAMESPACE)


def test_without_ssh_keygen_the_error_says_how_to_get_it(vectors, key, no_programs):
    """A public key, a key known by its public half only, and a file of another format need the program."""
    public = key.with_suffix(".pub")
    public.write_text(f"{vectors.keys['ed25519']}\n")
    other = key.with_name("other")
    other.write_text("-----BEGIN something else-----\n")
    key.unlink()

    for path in (public, key, other):
        with pytest.raises(SignatureError, match=f"signing with {path} takes ssh-keygen.*\n  .*apt install openssh-client"):
            sign_with(path, vectors.statement, NAMESPACE)


def test_a_missing_key_is_named(vectors, tmp_path):
    """The error has the path."""
    with pytest.raises(SignatureError, match=f"cannot read the key {tmp_path / 'none'}: No such file"):
        sign_with(tmp_path / "none", vectors.statement, NAMESPACE)
