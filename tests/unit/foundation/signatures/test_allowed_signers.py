"""Whose key is whose, as a file of allowed signers says it."""

from __future__ import annotations

import base64
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.errors import SettingsError, SignatureError
from flowstone.foundation.signatures.allowed_signers import MAX_FILE, Signer, Signers, matches
from flowstone.foundation.signatures.statement import NAMESPACE
from flowstone.foundation.signatures.wire import string

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND


@pytest.fixture
def key(vectors):
    return vectors.keys["ed25519"]


@pytest.fixture
def other(vectors):
    return vectors.keys["token-ecdsa"]


def at(text):
    """An instant in nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def test_every_committed_key_is_somebodys(vectors):
    """A file as people write it, read from where it is: each key has its name, its line and its fingerprint."""
    signers = Signers.read(vectors.folder / "allowed_signers")

    for number, (name, key) in enumerate(vectors.keys.items(), 2):
        assert signers.principal_of(key, NAMESPACE, NOW) == Signer(name, number, key.fingerprint)


def test_lines_are_read_as_people_write_them(key, other):
    """Comments, blank lines, tabs, names in quotes, comments after the key and lines of Windows are all understood."""
    text = f'\n  # nobody\r\n \t \n\tjo  {key} jo@laptop\r\n"ann lee" \tNameSpaces="a\\"b,flowstone-*"\t{other}   her key'
    signers = Signers.parse(text, "the file")

    assert signers.principal_of(key, "anything", NOW) == Signer("jo", 4, key.fingerprint)
    assert signers.principal_of(other, NAMESPACE, NOW) == Signer("ann lee", 5, other.fingerprint)
    assert signers.principal_of(other, 'a"b', NOW).principal == "ann lee"


def test_a_key_of_several_needs_a_name(key):
    """Where a key is listed for several people, who signs says as whom; names must be theirs."""
    signers = Signers.parse(f"jo,ann {key}\nben {key}\njo {key}", "the file")

    assert [signers.principal_of(key, NAMESPACE, NOW, name).line for name in ("jo", "ann", "ben")] == [1, 1, 2]
    with pytest.raises(SignatureError, match=r"is of 'jo', 'ann', 'ben'\n  say as whom you sign"):
        signers.principal_of(key, NAMESPACE, NOW)
    with pytest.raises(SignatureError, match=r"is not of 'eve' but of 'jo', 'ann', 'ben' \(the file line 1\)"):
        signers.principal_of(key, NAMESPACE, NOW, "eve")
    assert Signers.parse(f"jo {key}\njo {key}", "the file").principal_of(key, NAMESPACE, NOW).line == 1


def test_a_key_that_is_not_listed_is_nobodys(key, other):
    """The error has the fingerprint, and the key as it would be listed."""
    with pytest.raises(SignatureError) as caught:
        Signers.parse(f"jo {other}", "the file").principal_of(key, NAMESPACE, NOW)

    assert f"nobody's key is {key.fingerprint}: the file does not list it" in caught.value.message
    assert str(key) in caught.value.hint


def test_a_key_for_another_namespace_does_not_count(key):
    """The error has the line and what it allows; another line may allow it."""
    line = f'jo namespaces="file,git" {key}'
    with pytest.raises(
        SignatureError, match=r"line 1 of the file allows the key for namespaces='file,git', not for 'flowstone-decision'"
    ):
        Signers.parse(line, "the file").principal_of(key, NAMESPACE, NOW)
    assert Signers.parse(f"{line}\njo {key}", "the file").principal_of(key, NAMESPACE, NOW).line == 2
    with pytest.raises(SignatureError, match="namespaces=''"):
        Signers.parse(f'jo namespaces="" {key}', "the file").principal_of(key, NAMESPACE, NOW)


def test_a_key_counts_from_its_first_second_to_its_last(key):
    """Both ends belong to the time a key is valid; the error says when that is and when it signed."""
    signers = Signers.parse(f'jo valid-after="20260101Z",valid-before="202601312359Z" {key}', "the file")
    first, last = at("2026-01-01"), at("2026-01-31T23:59")

    for moment in (first, first + SECOND, last, last + SECOND - 1):
        assert signers.principal_of(key, NAMESPACE, moment).principal == "jo"
    with pytest.raises(SignatureError, match="the key before 2026-01-01T00:00:00Z; it signed 2025-12-31T23:59:59Z"):
        signers.principal_of(key, NAMESPACE, first - 1)
    with pytest.raises(SignatureError, match="the key after 2026-01-31T23:59:00Z; it signed 2026-01-31T23:59:01Z"):
        signers.principal_of(key, NAMESPACE, last + SECOND)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("20260723Z", "2026-07-23T00:00:00"),
        ("202607231015z", "2026-07-23T10:15:00"),
        ("20260723101559Z", "2026-07-23T10:15:59"),
        ("20260723101559utc", "2026-07-23T10:15:59"),
        ("20260123", "2026-01-22T23:00:00"),
        ("202601231015", "2026-01-23T09:15:00"),
        ("20260123101559", "2026-01-23T09:15:59"),
        ("202607231015", "2026-07-23T09:15:00"),  # standard time, in summer, too: what OpenSSH makes of it
    ],
)
def test_a_time_is_local_unless_it_says_otherwise(key, monkeypatch, said, meant):
    """Every form of ssh-keygen(1), on a machine in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        signers = Signers.parse(f'jo valid-after="{said}" {key}', "the file")
    finally:
        monkeypatch.undo()
        time.tzset()

    assert signers.principal_of(key, NAMESPACE, at(meant)).principal == "jo"
    with pytest.raises(SignatureError, match="does not allow the key before"):
        signers.principal_of(key, NAMESPACE, at(meant) - 1)


WRONG = {
    "a name and nothing else": ("jo", "no name, or nothing after it"),
    "no name": ("{key}", "is neither an option nor a key"),
    "a name left out": ("jo,,ann {key}", "'' names nobody"),
    "a wildcard": ("*@example.com {key}", "'\\*@example.com' names nobody: a decision is of one person"),
    "a letter left open": ("j? {key}", "'j\\?' names nobody"),
    "everybody but one": ("*,!jo {key}", "names nobody"),
    "a name that turns around": ("jo\u202e {key}", "names nobody"),
    "a quote that does not end": ('"jo {key}', "no name, or nothing after it"),
    "a quote inside a name": ('j"o" {key}', "no name, or nothing after it"),
    "a certificate authority": ("jo cert-authority {key}", "cert-authority is not accepted"),
    "a certificate authority for some": ('jo namespaces="x",cert-authority {key}', "cert-authority is not accepted"),
    "an unknown option": ('jo restrict="x" {key}', "'restrict=\"x\"' is no option with its value"),
    "an option without a value": ("jo namespaces {key}", "'namespaces' is no option with its value"),
    "a value without quotes": ("jo namespaces=x {key}", "in double quotes"),
    "a quote that is escaped": (r'jo namespaces="x\" {key}', "neither an option nor a key"),
    "an option twice": ('jo namespaces="x",NAMESPACES="y" {key}', "namespaces is given twice"),
    "a comma before the key": ('jo namespaces="x",{key}', "separated by commas without spaces"),
    "a comma and a space": ('jo namespaces="x", valid-after="20260101" {key}', "neither an option nor a key"),
    "a space between options": ('jo namespaces="x" valid-after="20260101" {key}', "separated by commas without spaces"),
    "no key": ('jo namespaces="x"', "neither an option nor a key"),
    "half a key": ("jo ssh-ed25519 AAAA", "the public key is cut off"),
    "another type's key": ("jo ssh-rsa {blob}", "says it is of type ssh-ed25519"),
    "a certificate": ("jo ssh-ed25519-cert-v01@openssh.com {certificate}", "a certificate is not accepted"),
    "a day that is none": ('jo valid-after="20260231" {key}', "valid-after='20260231' is no time: YYYYMMDD"),
    "half a minute": ('jo valid-after="20260101101" {key}', "is no time"),
    "other digits": ('jo valid-after="\uff12\uff10\uff12\uff160101" {key}', "is no time"),
    "a time before 1970": ('jo valid-before="19690101Z" {key}', "is no time"),
    "an end before the beginning": ('jo valid-after="20260101Z",valid-before="20260101Z" {key}', "is not later than valid-after"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "why"), WRONG.values(), ids=WRONG)
def test_a_line_that_is_not_understood_is_named(key, line, why):
    """Nothing of the file counts: the error has the line's number and what is wrong with it."""
    certificate = string(b"ssh-ed25519-cert-v01@openssh.com") + bytes(32)
    keys = {"key": str(key), "blob": str(key).split()[1], "certificate": base64.b64encode(certificate).decode()}
    for name, value in keys.items():
        line = line.replace(f"{{{name}}}", value)

    with pytest.raises(SettingsError, match=f"line 2 of the file: .*{why}"):
        Signers.parse(f"ann {key}\n{line}\n", "the file")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """A file that is missing, no text, or far too long is refused with its name."""
    bad, long = tmp_path / "bad", tmp_path / "long"
    bad.write_bytes(b"jo \xff")
    long.write_bytes(b"#" * (MAX_FILE + 1))

    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (bad, "not UTF-8"), (long, "are over")):
        with pytest.raises(SettingsError, match=f"{re.escape(str(path))}.*{why}"):
            Signers.read(path)


@pytest.mark.parametrize(
    ("text", "patterns", "found"),
    [
        ("file", "file", True), ("file", "", False), ("", "", False), ("file", "a,file", True), ("file", "FILE", False),
        ("file", "f*", True), ("file", "f??e", True), ("file", "f?e", False), ("file", "*", True), ("", "*", True),
        ("", "?", False), ("file", "!file", False), ("file", "!git", False), ("file", "!git,*", True),
        ("file", "*,!file", False),
        ("a.b", "a?b", True), ("axb", "a.b", False), ("a\nb", "a*b", True), ("file", "**e", True), ("[a]", "[a]", True),
    ],
)  # fmt: skip
def test_patterns_are_those_of_ssh(text, patterns, found):
    """``*`` is any letters, ``?`` one, and what ``!`` names never matches."""
    assert matches(text, patterns) is found


@given(st.text("ab", max_size=6), st.text("ab*?", max_size=6))
def test_a_pattern_matches_what_it_describes(text, pattern):
    """As a pattern is explained: letter by letter, a star taking none or one more."""

    def described(text, pattern):
        if not pattern:
            return not text
        if pattern[0] == "*":
            return described(text, pattern[1:]) or (bool(text) and described(text[1:], pattern))
        return bool(text) and pattern[0] in (text[0], "?") and described(text[1:], pattern[1:])

    assert matches(text, pattern) is (bool(pattern) and described(text, pattern))
