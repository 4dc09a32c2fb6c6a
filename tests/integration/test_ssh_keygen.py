"""What we sign, OpenSSH's own program accepts, and what it signs, we do; and both say the same of whose key is whose."""

from __future__ import annotations

import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowstone.foundation.errors import FlowStoneError, SignatureError
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.foundation.signatures.keys import public_key_of
from flowstone.foundation.signatures.signing import sign_with, sign_with_ssh_keygen
from flowstone.foundation.signatures.sshsig import verify
from flowstone.foundation.signatures.statement import NAMESPACE

VECTORS = Path(__file__).parents[1] / "unit/foundation/signatures/vectors"
MESSAGE = b"flowstone decision v1\nnot really\n"
KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa-256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-521": ("-t", "ecdsa", "-b", "521"),
    "rsa-2048": ("-t", "rsa", "-b", "2048"),
    "rsa-2048 in PEM": ("-t", "rsa", "-b", "2048", "-m", "PEM"),
}


@pytest.fixture
def make_key(ssh_keygen, tmp_path):
    """A function that makes a key of a kind, and returns the file of its private half."""

    def make(kind="ed25519", passphrase="", name="key"):
        path = tmp_path / name
        code, _, said = ssh_keygen("-q", *KINDS[kind], "-N", passphrase, "-C", "for a test", "-f", path)
        assert code == 0, said
        return path

    return make


@pytest.fixture
def they_verify(ssh_keygen, tmp_path):
    """A function that asks ``ssh-keygen -Y verify`` whether a signature is of a person in a list."""

    def ask(signature, message, signers, name="jo", namespace=NAMESPACE, *options):
        (tmp_path / "it.sig").write_text(signature)
        (tmp_path / "signers").write_text(signers)
        arguments = ["-f", tmp_path / "signers", "-I", name, "-n", namespace, "-s", tmp_path / "it.sig", *options]
        return ssh_keygen("-Y", "verify", *arguments, given=message)[0] == 0

    return ask


def public_half(private):
    return public_key_of(private.with_name(f"{private.name}.pub").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_each_accepts_what_the_other_signed(make_key, they_verify, kind):
    """By each type of key ssh-keygen makes: both signatures are verified by both, and of another text by neither."""
    private = make_key(kind)
    key = public_half(private)
    ours, theirs = sign_with(private, MESSAGE, NAMESPACE), sign_with_ssh_keygen(private, MESSAGE, NAMESPACE)

    for signature in (ours, theirs):
        assert verify(signature, MESSAGE, NAMESPACE) == key
        assert they_verify(signature, MESSAGE, f"jo {key}")
        assert not they_verify(signature, MESSAGE + b"!", f"jo {key}")
        with pytest.raises(SignatureError):
            verify(signature, MESSAGE + b"!", NAMESPACE)
    assert (ours == theirs) is not kind.startswith("ecdsa")  # which takes a number at random


def test_both_give_a_key_one_fingerprint(make_key, ssh_keygen):
    """What ``ssh-keygen -l`` prints is what we call the key."""
    private = make_key()

    assert ssh_keygen("-l", "-f", private)[1].split()[1] == public_half(private).fingerprint


@pytest.mark.parametrize("signature", sorted(VECTORS.glob("*.sig")), ids=lambda path: path.stem)
def test_openssh_accepts_every_committed_signature(they_verify, signature):
    """Also those of tokens, which no token made: so they are what a token's are."""
    signers, statement = (VECTORS / "allowed_signers").read_text(), (VECTORS / "statement").read_bytes()
    name = signature.stem.removesuffix("-sha256")

    assert they_verify(signature.read_text(), statement, signers, name)
    assert not they_verify(signature.read_text(), statement + b"x", signers, name)


def test_a_key_of_the_agent_signs_by_its_public_half(make_key, monkeypatch):
    """With the private key nowhere but in the agent, its public half is enough, under its own name or that of the private one."""
    private = make_key()
    public = private.with_name("key.pub")
    with tempfile.TemporaryDirectory(prefix="fsa-") as folder:  # a socket's path may have 107 bytes
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/agent")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", f"{folder}/agent"], stdout=subprocess.PIPE)
        try:
            agent.stdout.readline()  # it listens
            subprocess.run(["ssh-add", "-q", private], check=True, timeout=60)
            private.unlink()

            for path in (public, private):
                assert verify(sign_with(path, MESSAGE, NAMESPACE), MESSAGE, NAMESPACE) == public_key_of(public.read_text())
        finally:
            agent.kill()
            agent.communicate()
    with pytest.raises(SignatureError, match=f"ssh-keygen could not sign with {public}"):
        sign_with(public, MESSAGE, NAMESPACE)


@pytest.mark.parametrize("right", [True, False], ids=["the right one", "another"])
def test_a_passphrase_is_asked_for_by_ssh_keygen(make_key, monkeypatch, tmp_path, right):
    """A key with a passphrase signs once whoever ssh-keygen asks gives it; the error of another one is ssh-keygen's."""
    private = make_key(passphrase="correct horse")
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho '{'correct horse' if right else 'no'}'\n")
    ask.chmod(0o700)
    for name, value in {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "SSH_AUTH_SOCK": ""}.items():
        monkeypatch.setenv(name, value)

    if right:
        assert verify(sign_with(private, MESSAGE, NAMESPACE), MESSAGE, NAMESPACE) == public_half(private)
    else:
        with pytest.raises(SignatureError, match=r"incorrect passphrase[^\n]*\n  .* ssh-add"):
            sign_with(private, MESSAGE, NAMESPACE)


def test_a_key_too_weak_to_count_does_not_sign(make_key, ssh_keygen, tmp_path):
    """What ssh-keygen signs with a key that is refused here never leaves: an RSA key of 1024 bits, which it still makes."""
    path = tmp_path / "weak"
    assert ssh_keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", path)[0] == 0

    for way in (sign_with, sign_with_ssh_keygen):
        with pytest.raises(SignatureError, match="an RSA key of 1024 bits is not accepted"):
            way(path, MESSAGE, NAMESPACE)


LINES = [
    "jo {key}",
    "jo {key} with a comment",
    "ann,jo {key}",
    "\t jo \t {key}",
    '"jo" {key}',
    "ann {key}",
    "# jo {key}",
    'jo namespaces="*" {key}',
    'jo namespaces="flowstone-decision" {key}',
    'jo NAMESPACES="file,flowstone-?ecision" {key}',
    'jo namespaces="!flowstone-decision,*" {key}',
    'jo namespaces="*,!file" {key}',
    'jo namespaces="" {key}',
    r'jo namespaces="a\"b,flowstone*" {key}',
    "jo namespaces=file {key}",
    'jo namespaces="file",namespaces="*" {key}',
    'jo namespaces="*", {key}',
    'jo restrict,namespaces="*" {key}',
    'jo valid-after="20260723Z" {key}',
    'jo valid-before="20260723Z" {key}',
    'jo valid-after="20260723" {key}',
    'jo valid-before="20260723" {key}',
    'jo valid-after="202607231200" {key}',
    'jo valid-before="202601231200" {key}',
    'jo valid-after="20260723120000z",valid-before="20260723120001UTC" {key}',
    'jo valid-after="20260723120001Z",valid-before="20260723120000Z" {key}',
    'jo valid-after="2026072312Z" {key}',
    'jo valid-after="20261301Z" {key}',
    'jo valid-after="19691231Z" {key}',
    "jo cert-authority {key}",
]
MOMENTS = [
    *("20260123105959", "20260123110000", "20260123110001"),
    *("20260722215959", "20260722220000", "20260722225959", "20260722230000", "20260722230001", "20260722235959"),
    *("20260723000000", "20260723000001", "20260723100000", "20260723105959", "20260723110000", "20260723115959"),
    *("20260723120000", "20260723120001", "20260723120002"),
]


@pytest.fixture
def in_berlin(monkeypatch):
    """A time zone with a summer time, of this process and of those it starts."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("line", LINES)
def test_both_read_a_list_of_signers_alike(make_key, they_verify, in_berlin, line):
    """Of each line both say the same of whose key it is, for either namespace and at each second around its times."""
    private = make_key()
    key = public_half(private)
    listed = line.replace("{key}", str(key))
    signatures = {namespace: sign_with(private, MESSAGE, namespace) for namespace in (NAMESPACE, "file")}

    def we_verify(namespace, moment):
        at = datetime.strptime(moment, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        try:
            signer = Signers.parse(listed, "the list").principal_of(key, namespace, int(at.timestamp()) * 1_000_000_000, "jo")
        except FlowStoneError:
            return False
        return signer.principal == "jo"

    moments = MOMENTS if "valid" in line else MOMENTS[:1]
    asked = [(namespace, moment) for namespace in signatures for moment in moments]
    theirs = [they_verify(signatures[name], MESSAGE, listed, "jo", name, f"-Overify-time={at}Z") for name, at in asked]

    assert [we_verify(*each) for each in asked] == theirs


def test_signing_leaves_nothing_behind(make_key, monkeypatch):
    """Without an agent a public key signs by the private one beside it, and no file is left there."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    private = make_key()

    assert sign_with(private.with_name("key.pub"), MESSAGE, NAMESPACE) == sign_with(private, MESSAGE, NAMESPACE)
    assert {path.name for path in private.parent.iterdir()} == {"key", "key.pub"}
