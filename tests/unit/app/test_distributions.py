"""What is installed for this process: one digest that changes when, and only when, a distribution does."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import sys

import pytest

from flowstone.app import distributions
from flowstone.app.distributions import Installed, installed


@pytest.fixture(autouse=True)
def _fresh():
    """Nothing is remembered."""
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that alone is searched for distributions; ``site("a-1.0")`` installs one."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def install(name, suffix=".dist-info", folder=tmp_path, **files):
        metadata = folder / f"{name}{suffix}"
        metadata.mkdir(parents=True)
        for file, text in files.items():
            (metadata / file).write_text(text)
        installed.cache_clear()

    return install


def digest(*lines: str) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_they_are_those_python_finds(monkeypatch):
    """Name and version of everything installed here are those of ``importlib.metadata``, which reads every file for it."""
    found = {}
    for folder in sys.path:
        for name, version, _ in distributions._in(folder):
            found.setdefault(name, version)
    expected = {}
    for known in importlib.metadata.distributions():
        expected.setdefault(re.sub(r"[-_.]+", "-", known.metadata["Name"]).lower(), known.version)

    assert found == expected
    assert installed().count == len(expected) > 20


def test_the_digest_is_of_sorted_lines(site):
    """The digest is the SHA-256 of the sorted lines ``name==version``, with names normalized."""
    site("Zope.Interface-7.0")
    site("a_b-1.0+local.1")

    assert installed() == Installed(digest("a-b==1.0+local.1", "zope-interface==7.0"), 2, ())


def test_another_version_is_another_digest(site, tmp_path):
    """An upgrade changes the digest."""
    site("a-1.0")
    before = installed().digest
    (tmp_path / "a-1.0.dist-info").rename(tmp_path / "a-1.1.dist-info")
    installed.cache_clear()

    assert installed().digest == digest("a==1.1") != before


def test_editable_ones_are_marked(site, tmp_path):
    """An editable install says so in its line, because its code can change without its version; a local wheel does not."""
    site("a-1.0", **{"direct_url.json": '{"url": "here", "dir_info": {"editable":true}}'})
    site("b-1.0", **{"direct_url.json": '{"url": "here", "dir_info": {}}'})
    site("c-1.0", **{"direct_url.json": "not json"})
    site("d", ".egg-info", PKG_INFO="")
    (tmp_path / "d.egg-info/PKG-INFO").write_text("Metadata-Version: 2.1\nName: d\nVersion: 3.0\n")

    assert installed() == Installed(digest("a==1.0 (editable)", "b==1.0", "c==1.0", "d==3.0 (editable)"), 4, ("a", "d"))


def test_the_first_on_the_path_counts(site, tmp_path, monkeypatch):
    """Of two versions on the path the digest has the one that is imported; entries that are no folders are passed over."""
    other = tmp_path / "other"
    site("a-1.0", folder=other)
    site("a-2.0")
    (tmp_path / "zipped.zip").write_bytes(b"")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "zipped.zip"), str(tmp_path / "gone"), str(other), str(tmp_path)])

    assert installed() == Installed(digest("a==1.0"), 1, ())


def test_it_is_read_once(site, tmp_path):
    """A process reads it once: what it has imported does not change with what is installed later."""
    site("a-1.0")
    first = installed()
    (tmp_path / "a-1.0.dist-info").rename(tmp_path / "a-1.1.dist-info")

    assert installed() is first
