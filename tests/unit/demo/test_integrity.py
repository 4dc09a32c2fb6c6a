"""Every listed file ends in exactly one category, and what cannot be checked is never called ok."""

import hashlib
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstone_demo import integrity


def check(site):
    result = integrity.check(integrity.read_records(site.environment))
    assert result["listed"] == result["ok"] + result["differs"] + result["missing"] + sum(result["cannot_check"].values())
    return result


def test_an_untouched_file_is_ok_and_its_record_carries_no_hash(site):
    """A file whose hash matches is ok; RECORD itself has no hash and so cannot be checked."""
    site.add("one", files={"one/a.py": "a", "one/b.py": ""})

    result = check(site)

    assert (result["listed"], result["hashed"], result["ok"]) == (3, 2, 2)
    assert result["cannot_check"] == {"no hash": 1}
    assert result["files"] == []


def test_a_changed_file_differs_with_both_digests(site):
    """A changed file is reported with the recorded and the found digest, even if its size is the same."""
    site.add("one", files={"one/a.py": "good"})
    (site.path / "one" / "a.py").write_text("evil")

    (problem,) = check(site)["files"]

    assert (problem["path"], problem["problem"]) == ("one/a.py", "differs")
    assert problem["recorded"] == hashlib.sha256(b"good").hexdigest()
    assert problem["found"] == hashlib.sha256(b"evil").hexdigest()


def test_a_file_that_is_gone_is_missing(site):
    """A hashed file that does not exist is missing, and so is one whose folder became a file."""
    site.add("one", files={"one/a.py": "a", "two/b.py": "b"})
    (site.path / "one" / "a.py").unlink()
    (site.path / "two" / "b.py").unlink()
    (site.path / "two").rmdir()
    (site.path / "two").write_text("a file now")

    result = check(site)

    assert (result["missing"], result["hashed"]) == (2, 0)
    assert {problem["found"] for problem in result["files"]} == {""}


def test_an_editable_install_cannot_be_checked(site):
    """An editable install's listed files are all counted as not checkable, even where their hash matches."""
    site.add("local", files={"local.pth": "x"}, direct_url={"url": site.prefix.as_uri(), "dir_info": {"editable": True}})

    result = check(site)

    assert (result["ok"], result["cannot_check"]) == (0, {"editable install": 2})
    assert result["distributions"][0]["reason"] == "editable install"


def test_a_distribution_without_record_cannot_be_checked(site):
    """A distribution without RECORD lists nothing, is ok in nothing and says why."""
    site.add("bare", files={"bare.py": "x"}, record=False)

    result = check(site)

    assert (result["listed"], result["ok"]) == (0, 0)
    assert result["distributions"][0]["reason"] == "no RECORD"


@pytest.mark.parametrize("path", ["../../../outside.py", "/etc/hostname", "one/../../../../outside.py"])
def test_a_path_outside_the_environment_is_never_opened(site, tmp_path, record_row, path):
    """A RECORD line that leads out of the environment is counted, not followed, even with a right hash."""
    (tmp_path / "outside.py").write_text("secret")
    site.add("one", rows=(record_row(path, "secret"),))

    result = check(site)

    assert (result["hashed"], result["missing"]) == (0, 0)
    assert result["cannot_check"]["outside the environment"] == 1


def test_a_script_beside_the_libraries_belongs_to_the_environment(site, record_row):
    """A path with .. that stays under the prefix, such as a script in bin, is compared."""
    (site.prefix / "bin").mkdir()
    (site.prefix / "bin" / "tool").write_text("run")
    site.add("one", rows=(record_row("../../bin/tool", "run"),))

    assert check(site)["ok"] == 1


def test_links_are_followed_only_inside_the_environment(site, tmp_path, record_row):
    """A link to a file inside is compared with what it leads to; one that leads out, by file or folder, is not."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "c.py").write_text("x")
    (site.path / "real.py").write_text("x")
    (site.path / "inside.py").symlink_to(site.path / "real.py")
    (site.path / "out.py").symlink_to(tmp_path / "outside" / "c.py")
    (site.path / "folder").symlink_to(tmp_path / "outside")
    (site.path / "loop.py").symlink_to(site.path / "loop.py")
    names = ("inside.py", "out.py", "folder/c.py", "loop.py")
    site.add("one", rows=tuple(record_row(name, "x") for name in names))

    result = check(site)

    assert result["ok"] == 1
    assert result["cannot_check"] == {"no hash": 1, "outside the environment": 2, "unreadable": 1}


def test_what_is_not_a_regular_file_is_unreadable(site, record_row):
    """A folder and a pipe in place of a file are unreadable, and a pipe does not hold the review up."""
    (site.path / "folder.py").mkdir()
    os.mkfifo(site.path / "pipe.py")
    site.add("one", rows=(record_row("folder.py", ""), record_row("pipe.py", "")))

    assert check(site)["cannot_check"]["unreadable"] == 2


def test_stronger_hashes_are_compared_and_weak_ones_are_not(site, record_row):
    """SHA-384 and SHA-512 are compared; MD5, SHA-1 and unknown names prove nothing and are not."""
    (site.path / "a.py").write_text("a")
    rows = [record_row("a.py", "a", algorithm) for algorithm in ("sha384", "sha512", "md5", "sha1")]
    site.add("one", rows=(*rows, "a.py,made-up=abc,1"))

    result = check(site)

    assert (result["ok"], result["cannot_check"]["unsupported hash"]) == (2, 3)


def test_a_hexadecimal_digest_is_understood(site):
    """Some packagers write the digest in hexadecimal; it is compared like any other."""
    (site.path / "a.py").write_text("a")
    site.add("one", rows=(f"a.py,sha256={hashlib.sha256(b'a').hexdigest()},1", f"a.py,sha256={'0' * 64},1"))

    result = check(site)

    assert (result["ok"], result["differs"]) == (1, 1)


@pytest.mark.parametrize(
    "line",
    ["only-a-path", "a,b", "a,b,c,d", ",sha256=x,1", "a.py,sha256=!!!,1", "a.py,sha256=AAAA,1", "a.py,sha256=,1", "a\0b,,"],
)
def test_a_bad_record_line_is_counted_as_such(site, line):
    """A line that is no RECORD line is counted under its own reason and does not stop the others."""
    site.add("one", files={"one.py": "x"}, rows=(line,))

    result = check(site)

    assert (result["ok"], result["cannot_check"]) == (1, {"bad RECORD line": 1, "no hash": 1})


@given(content=st.binary(max_size=200) | st.text(alphabet='a.py,=sha256/"\n\r\0', max_size=200).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_record_however_broken_makes_a_file_ok(site, content):
    """Whatever bytes RECORD holds, every line is counted once and none of them proves a file that was never hashed."""
    folder = site.path / "one-1.0.dist-info"
    if not folder.exists():
        site.add("one")
    (folder / "RECORD").write_bytes(content)

    assert check(site)["ok"] == 0


def test_a_path_that_is_not_utf8_can_still_be_reported(site):
    """A file name of arbitrary bytes is found on disk and reported as text that any encoder takes."""
    name = b"caf\xe9.py"
    with open(os.path.join(os.fsencode(site.path), name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(b"changed")
    folder = site.add("one")
    (folder / "RECORD").write_bytes(name + b",sha256=" + b"0" * 64 + b",1\n")

    (problem,) = check(site)["files"]

    assert (problem["problem"], problem["path"].encode()) == ("differs", "caf\ufffd.py".encode())


def test_checking_twice_gives_the_same_plain_data(site):
    """The result is plain JSON data and does not depend on how often the same records are checked."""
    site.add("one", files={"one/a.py": "a"})
    records = integrity.read_records(site.environment)

    first = integrity.check(records)

    assert integrity.check(records) == first == json.loads(json.dumps(first))


def test_progress_sees_every_hashed_file(site):
    """The function given as *track* is handed the files that are hashed, and no others."""
    site.add("one", files={"one/a.py": "a", "one/b.py": "b"})
    seen = []

    def track(files):
        for file in files:
            seen.append(file.listed)
            yield file

    integrity.check(integrity.read_records(site.environment), track=track)

    assert seen == ["one/a.py", "one/b.py"]


def test_the_fingerprint_follows_files_and_records(site):
    """Touching a hashed file, changing RECORD and deleting a file change the fingerprint; an unlisted file does not."""
    folder = site.add("one", files={"one/a.py": "a"})
    seen = [integrity.fingerprint(site.environment)]
    (site.path / "one" / "unlisted.py").write_text("x")
    assert integrity.fingerprint(site.environment) == seen[0]

    os.utime(site.path / "one" / "a.py", ns=(1, 1))
    seen.append(integrity.fingerprint(site.environment))
    with (folder / "RECORD").open("a") as file:
        file.write("one/c.pyc,,\n")
    seen.append(integrity.fingerprint(site.environment))
    (site.path / "one" / "a.py").unlink()
    seen.append(integrity.fingerprint(site.environment))

    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    ("differs", "missing", "words"),
    [
        (0, 0, "1,000 of 2,000 files hashed, none differs"),
        (1, 0, "1,000 of 2,000 files hashed, 1 differs"),
        (3, 2, "1,000 of 2,000 files hashed, 3 differ, 2 missing"),
    ],
)
def test_summary_says_how_many_were_not_hashed(site, differs, missing, words):
    """The summary names hashed and listed files apart, then what differs and what is missing."""
    result = {**check(site), "hashed": 1000, "listed": 2000, "differs": differs, "missing": missing}

    assert integrity.summary(result) == words
