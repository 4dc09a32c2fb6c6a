"""Signatures of OpenSSH: those that ssh-keygen made are verified, and nothing that differs from them in anything."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures import sshsig
from flowstone.foundation.signatures.keys import public_key, public_key_of
from flowstone.foundation.signatures.sshsig import sign, verify
from flowstone.foundation.signatures.statement import NAMESPACE
from flowstone.foundation.signatures.wire import Reader, mpint, string

NAMES = ("ecdsa-256", "ecdsa-384", "ecdsa-521", "ed25519", "ed25519-sha256", "rsa-2048", "token-ecdsa", "token-ed25519")
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
RAW = ED25519.public_key().public_bytes_raw()
KEY = string(b"ssh-ed25519") + string(RAW)
P256 = string(b"ecdsa-sha2-nistp256")


def armoured(*, magic=b"SSHSIG", version=1, key=KEY, namespace=b"n", reserved=b"", digest=b"sha512", signature=None, rest=b""):
    """An SSH signature of the message ``b"m"``, by default one that verifies, made of what it is given."""
    if signature is None:
        signature = string(b"ssh-ed25519") + string(ED25519.sign(sshsig._signed(b"m", "n", "sha512")))
    fields = b"".join(map(string, (key, namespace, reserved, digest, signature)))
    return sshsig._armour(magic + version.to_bytes(4, "big") + fields + rest)


def of_token(private, *, application=b"ssh:", flags=1, counter=1, signed_application=b"ssh:", signed_counter=1):
    """The key of a token, and its signature of the message ``b"m"``; what is said may differ from what is signed."""
    type, data = b"sk-ssh-ed25519@openssh.com", sshsig._signed(b"m", "n", "sha512")
    signed = hashlib.sha256(signed_application).digest() + bytes([flags]) + signed_counter.to_bytes(4, "big")
    signature = private.sign(signed + hashlib.sha256(data).digest())
    key = string(type) + string(private.public_key().public_bytes_raw()) + string(application)
    return key, string(type) + string(signature) + bytes([flags]) + counter.to_bytes(4, "big")


@pytest.mark.parametrize("name", NAMES)
def test_what_ssh_keygen_signed_is_verified(vectors, name):
    """Each committed signature is of the key that is listed under its name, and of no other text and no other namespace."""
    signature = vectors.signatures[name]

    assert verify(signature, vectors.statement, NAMESPACE) == vectors.keys[name.removesuffix("-sha256")]
    with pytest.raises(SignatureError, match=r"is not one of the key SHA256:.* of this text"):
        verify(signature, vectors.statement.replace(b"approved", b"rejected"), NAMESPACE)
    with pytest.raises(SignatureError, match="for the namespace 'flowstone-decision', not for 'file'"):
        verify(signature, vectors.statement, "file")


def test_every_committed_signature_is_tested(vectors):
    """The names of these tests are those of the files."""
    assert sorted(vectors.signatures) == sorted(NAMES)


def test_fingerprints_are_those_of_ssh_keygen(vectors):
    """A key's fingerprint is what ``ssh-keygen -l`` printed of it."""
    said = [line.split()[1:3] for line in (vectors.folder / "fingerprints").read_text().splitlines()]

    assert [[key.fingerprint, name] for name, key in vectors.keys.items()] == said


@pytest.mark.parametrize("name", ["ed25519", "rsa-2048"])
def test_signing_makes_the_bytes_of_ssh_keygen(vectors, name):
    """By the same key, of the same text, the same signature to the last byte."""
    assert sign(vectors.private(name), vectors.statement, NAMESPACE) == vectors.signatures[name]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_what_an_ecdsa_key_signs_is_verified(curve):
    """A signature by any of the three curves, each with random numbers of its own, is of the key that made it."""
    private = ec.generate_private_key(curve)
    keys = {verify(sign(private, text, "n"), text, "n") for text in (b"", b"a", b"b" * 100_000)}

    assert len(keys) == 1
    assert public_key_of(str(keys.pop())).type == f"ecdsa-sha2-nistp{curve.key_size}"


@pytest.mark.parametrize("name", NAMES)
def test_a_bit_flipped_in_any_byte_is_refused(vectors, is_refused, name):
    """The first and the last bit of each byte, of the armour and of what is inside it."""
    signature, text = vectors.signatures[name], vectors.statement
    blob = sshsig._dearmour(signature)

    def flipped(data):
        return [data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :] for at in range(len(data)) for bit in (1, 128)]

    tried = [each.decode("latin-1") for each in flipped(signature.encode())] + [sshsig._armour(each) for each in flipped(blob)]
    assert [each for each in tried if not is_refused(SignatureError, verify, each, text, NAMESPACE)] == []


@given(st.sampled_from(NAMES), st.data())
def test_a_byte_changed_in_a_signature_is_refused(vectors, name, data):
    """Whatever a byte of the armour, or of what is inside it, is changed to, taken out or put in."""
    signature = vectors.signatures[name]
    if inside := data.draw(st.booleans()):
        signature = sshsig._dearmour(signature).decode("latin-1")
    at = data.draw(st.integers(0, len(signature) - 1))
    put = data.draw(st.characters(max_codepoint=255).filter(lambda character: character != signature[at]) | st.just(""))
    until = at + data.draw(st.sampled_from([1, 0]) if put else st.just(1))
    changed = signature[:at] + put + signature[until:]
    if changed == signature or (not inside and changed.replace("\n", "") == signature.replace("\n", "")):
        return  # programs break the lines at different places

    with pytest.raises(SignatureError):
        verify(sshsig._armour(changed.encode("latin-1")) if inside else changed, vectors.statement, NAMESPACE)


@given(st.text(st.characters(codec="utf-8"), max_size=200) | st.binary(max_size=200).map(sshsig._armour))
def test_any_other_text_is_refused(text):
    """Whatever is given as a signature, it is refused with that error and no other."""
    with pytest.raises(SignatureError):
        verify(text, b"m", "n")


WRONG = {
    "magic": (armoured(magic=b"SSHGIS"), "begins with b'SSHGIS'"),
    "an older version": (armoured(version=0), "of version 0; version 1"),
    "a newer version": (armoured(version=2), "of version 2; version 1"),
    "namespace": (armoured(namespace=b"file"), "for the namespace 'file', not for 'n'"),
    "no namespace": (armoured(namespace=b""), "for the namespace '', not for 'n'"),
    "reserved": (armoured(reserved=b"x"), "reserved field is not empty"),
    "digest": (armoured(digest=b"md5"), "of a digest by 'md5'"),
    "the other digest": (armoured(digest=b"sha256"), "is not one of the key"),
    "bytes after the end": (armoured(rest=b"\0"), "goes on for 1 bytes after its end"),
    "too long": (armoured(rest=bytes(16_384)), "16,384 are read at most"),
    "bytes after the key": (armoured(key=KEY + b"\0"), "the public key goes on for 1 bytes"),
    "a key cut off": (armoured(key=KEY[:-1]), "the public key is cut off"),
    "a key of 31 bytes": (armoured(key=string(b"ssh-ed25519") + string(RAW[:31])), "has 32 bytes, not 31"),
    "DSA": (armoured(key=string(b"ssh-dss") + bytes(40)), "a key of type 'ssh-dss' is not accepted"),
    "a certificate": (armoured(key=string(b"ssh-ed25519-cert-v01@openssh.com") + bytes(40)), "a certificate is not accepted"),
    "an unknown type": (armoured(key=string(b"ssh-\xff")), r"a key of type 'ssh-\\\\xff' is not accepted"),
    "RSA of 1024 bits": (armoured(key=string(b"ssh-rsa") + mpint(65_537) + mpint(2**1023 + 1)), "an RSA key of 1024 bits"),
    "RSA of 16,385 bits": (armoured(key=string(b"ssh-rsa") + mpint(65_537) + mpint(2**16_384 + 1)), "an RSA key of 16385 bits"),
    "an even exponent": (
        armoured(key=string(b"ssh-rsa") + mpint(65_536) + mpint(2**2047 + 1), signature=string(b"rsa-sha2-512") + string(b"")),
        "cannot verify anything",
    ),
    "a padded number": (armoured(key=string(b"ssh-rsa") + string(b"\0\1\0\1") + mpint(2**2047 + 1)), "longer than it need be"),
    "a negative number": (armoured(key=string(b"ssh-rsa") + string(b"\x81") + mpint(2**2047 + 1)), "not positive"),
    "RSA with SHA-1": (
        armoured(key=string(b"ssh-rsa") + mpint(65_537) + mpint(2**2047 + 1), signature=string(b"ssh-rsa") + string(bytes(256))),
        "of type ssh-rsa does not sign with 'ssh-rsa'",
    ),
    "another curve": (armoured(key=P256 + string(b"nistp384") + string(b"\4" + bytes(64))), "no uncompressed point"),
    "a short point": (armoured(key=P256 + string(b"nistp256") + string(b"\2" + bytes(32))), "no uncompressed point"),
    "a hybrid point": (armoured(key=P256 + string(b"nistp256") + string(b"\6" + bytes(64))), "no uncompressed point"),
    "no point of the curve": (
        armoured(
            key=P256 + string(b"nistp256") + string(b"\4" + bytes(64)), signature=P256 + string(mpint(1) + mpint(1))
        ),
        "cannot verify anything",
    ),
    "another algorithm": (armoured(signature=string(b"rsa-sha2-512") + string(bytes(64))), "does not sign with 'rsa-sha2-512'"),
    "a short signature": (armoured(signature=string(b"ssh-ed25519") + string(bytes(63))), "is not one of the key"),
    "an empty signature": (armoured(signature=b""), "the signature is cut off"),
}  # fmt: skip


@pytest.mark.parametrize(("signature", "why"), WRONG.values(), ids=WRONG)
def test_a_wrong_part_is_named(signature, why):
    """Each part that is not as it must be is refused, and the error says which."""
    assert verify(armoured(), b"m", "n").blob == KEY
    with pytest.raises(SignatureError, match=why):
        verify(signature, b"m", "n")


ARMOUR = {
    "nothing": lambda text: "",
    "no first line": lambda text: text.removeprefix(sshsig.BEGIN),
    "no last line": lambda text: text[: -len(sshsig.END) - 1],
    "text before it": lambda text: f" {text}",
    "text after it": lambda text: f"{text}\n",
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "an empty line": lambda text: text.replace("\n", "\n\n", 1),
    "a space": lambda text: text.replace("U1NI", "U1NI "),
    "a letter that is none": lambda text: text.replace("U1NI", "U1N\u0406"),
    "padding missing": lambda text: text.replace("=", ""),
    "bits after the end": lambda text: re.sub("(.)==", lambda found: chr(ord(found[1]) + 1) + "==", text),
}


@pytest.mark.parametrize("change", ARMOUR.values(), ids=ARMOUR)
def test_the_armour_has_one_form(change):
    """Lines may be of any length and the last newline may be missing; anything else around or between them is refused."""
    signature = string(b"ssh-ed25519") + string(ED25519.sign(sshsig._signed(b"m", "nn", "sha512")))
    text = armoured(namespace=b"nn", signature=signature)
    first = text.replace("U1NI", "U1NI\n")
    assert verify(text, b"m", "nn") == verify(text.removesuffix("\n"), b"m", "nn") == verify(first, b"m", "nn")

    assert change(text) != text
    with pytest.raises(SignatureError):
        verify(change(text), b"m", "nn")


def test_somebody_touched_the_token():
    """A token's signature counts only with the flag that somebody was there; flag, counter and application are signed."""
    key, signature = of_token(ED25519, flags=5, counter=9, signed_counter=9)
    assert verify(armoured(key=key, signature=signature), b"m", "n").type == "sk-ssh-ed25519@openssh.com"

    for given_, why in (
        ({"flags": 4}, "without anybody touching it"),
        ({"flags": 0}, "without anybody touching it"),
        ({"counter": 2}, "is not one of the key"),
        ({"application": b"ssh:other"}, "is not one of the key"),
    ):
        key, signature = of_token(ED25519, **given_)
        with pytest.raises(SignatureError, match=why):
            verify(armoured(key=key, signature=signature), b"m", "n")


def test_a_token_with_a_plain_signature_is_refused(is_refused):
    """The key in a token has no signature by the plain algorithm, and a plain key none by the token's."""
    token, signature = of_token(ED25519)
    plain = string(b"ssh-ed25519") + string(ED25519.sign(sshsig._signed(b"m", "n", "sha512")))

    assert is_refused(SignatureError, verify, armoured(key=token, signature=plain), b"m", "n")
    assert is_refused(SignatureError, verify, armoured(key=KEY, signature=signature), b"m", "n")


def test_an_rsa_signature_without_its_leading_zeros_is_verified(vectors, is_refused):
    """Agents that leave them out sign as well as others; one that leaves out more does not, and SHA-256 is as good as SHA-512."""
    private = vectors.private("rsa-2048")
    key = vectors.keys["rsa-2048"].blob
    for number in range(10_000):  # one in 256 begins with a zero; the key is always the same, so it is always the same one
        message = str(number).encode()
        data = sshsig._signed(message, "n", "sha512")
        signature = private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if signature[0] == 0:
            break

    def with_(signature):
        return armoured(key=key, signature=string(b"rsa-sha2-256") + string(signature))

    assert verify(with_(signature), message, "n").blob == verify(with_(signature[1:]), message, "n").blob == key
    assert is_refused(SignatureError, verify, with_(signature[2:]), message, "n")
    assert is_refused(SignatureError, verify, with_(b"\0" + signature), message, "n")


def test_a_key_that_would_be_refused_does_not_sign():
    """Signing with a weak key, one that OpenSSH does not have, or for nothing in particular, says why not."""
    weak = rsa.generate_private_key(65_537, 1024)

    for private, why in (
        (weak, "an RSA key of 1024 bits"),
        (x25519.X25519PrivateKey.generate(), "OpenSSH has no keys of the type"),
        (ec.generate_private_key(ec.SECP256K1()), "OpenSSH has no keys of the type"),
    ):
        with pytest.raises(SignatureError, match=why):
            sign(private, b"m", "n")
    with pytest.raises(SignatureError, match="needs a namespace"):
        sign(ED25519, b"m", "")


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 ?", f"ssh-rsa {base64.b64encode(KEY).decode()}", "ssh-ed25519 AAAA"]
)
def test_a_text_that_is_no_key_is_refused(text):
    """A key's text is its type and its bytes, which must agree."""
    with pytest.raises(SignatureError):
        public_key_of(text)
    assert public_key_of(f"{public_key(KEY)} somebody@here") == public_key(KEY)


@given(st.integers(0, 2**80))
def test_a_number_is_read_as_it_was_written(number):
    """A positive number comes back; its bytes are the only form of it that is read."""
    if number:
        assert Reader(mpint(number), "x").mpint() == number
        assert Reader(string(b"\0" + mpint(number)[4:]) + mpint(number), "x").string()[0] == 0
    with pytest.raises(SignatureError):
        Reader(string(b"\0" + mpint(number)[4:]), "x").mpint()


def test_lists_of_signers_are_read_without_the_library_that_signs():
    """Importing all of it, and reading whose key is whose, loads no cryptography: what verifies nothing starts fast."""
    code = f"""
import sys
from flowstone.foundation.signatures import allowed_signers, keys, signing, sshsig, statement, wire
allowed_signers.Signers.parse({str(public_key(KEY))!r}.join(["jo ", ""]), "here")
print("cryptography" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
