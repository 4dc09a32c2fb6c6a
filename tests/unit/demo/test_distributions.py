"""What is installed, and when its fingerprint changes."""

import json
import os

from flowstone_demo import distributions


def read(site):
    return distributions.read(site.environment)


def test_metadata_fields_are_read(site):
    """Name, version, licence fields, requirements and the number of declared files come from the metadata."""
    site.add(
        "demo-lib",
        "1.2",
        files={"demo.py": "x"},
        headers=(
            "Summary: A library",
            "License-Expression: MIT",
            "Classifier: License :: OSI Approved :: MIT License",
            "Classifier: Typing :: Typed",
            "Requires-Dist: other>=1 ; extra == 'more'",
            "Requires-Python: >=3.9",
        ),
    )

    (found,) = read(site)["distributions"]

    assert (found["name"], found["version"], found["summary"], found["files"]) == ("demo-lib", "1.2", "A library", 2)
    assert (found["licence_expression"], found["licence_classifiers"]) == ("MIT", ["OSI Approved :: MIT License"])
    assert (found["requires"], found["requires_python"]) == (["other>=1 ; extra == 'more'"], ">=3.9")


def test_order_is_by_name_and_equal_input_gives_equal_output(site):
    """Distributions come in the order of their normalized names, as plain JSON data."""
    for name in ("zeta", "Alpha", "beta_two", "beta-one"):
        site.add(name)

    snapshot = read(site)

    assert [each["name"] for each in snapshot["distributions"]] == ["Alpha", "beta-one", "beta_two", "zeta"]
    assert json.loads(json.dumps(snapshot)) == snapshot == read(site)


def test_unreadable_metadata_is_named_and_not_counted(site):
    """A metadata folder without a usable name is listed as unreadable; nothing is guessed from its folder's name."""
    (site.path / "broken-1.0.dist-info").mkdir()
    bytes_only = site.path / "latin-1.0.dist-info"
    bytes_only.mkdir()
    (bytes_only / "METADATA").write_bytes(b"Name: latin\nVersion: 1\nAuthor: \xff\n")
    nameless = site.path / "nameless-1.0.dist-info"
    nameless.mkdir()
    (nameless / "METADATA").write_text("Version: 1.0\n")

    snapshot = read(site)

    assert snapshot["distributions"] == []
    assert snapshot["unreadable"] == ["broken-1.0.dist-info", "latin-1.0.dist-info", "nameless-1.0.dist-info"]


def test_the_second_of_one_name_is_shadowed(site):
    """Two distributions whose names normalize to the same one: the first found counts, the other is marked."""
    site.add("Some.Name", "1.0")
    site.add("some-name", "2.0")

    assert [(each["version"], each["shadowed"]) for each in read(site)["distributions"]] == [("1.0", False), ("2.0", True)]


def test_an_egg_info_file_s_requirements_are_read(site):
    """The older .egg-info layout is read too, requirements with their extras included."""
    folder = site.path / "old.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old\nVersion: 0.1\nLicense: UNKNOWN\n")
    (folder / "requires.txt").write_text("first>=1\n\n[more]\nsecond\n")

    (found,) = read(site)["distributions"]

    assert (found["files"], found["licence_field"]) == (None, "")
    assert [line.split(";")[0].strip() for line in found["requires"]] == ["first>=1", "second"]


def test_a_licence_file_is_read_only_when_nothing_else_names_a_licence(site):
    """The wording of the licence file is kept as last evidence, and a path that leaves the folder is not opened."""
    silent = site.add("silent", headers=("License-File: LICENSE",))
    (silent / "licenses").mkdir()
    (silent / "licenses" / "LICENSE").write_text("Permission is hereby granted")
    spoken = site.add("spoken", headers=("License: MIT", "License-File: LICENSE"))
    (spoken / "LICENSE").write_text("Permission is hereby granted")
    (site.path / "secret").write_text("a secret")
    site.add("thief", headers=("License-File: ../secret",))

    texts = {each["name"]: each["licence_text"] for each in read(site)["distributions"]}

    assert texts == {"silent": "Permission is hereby granted", "spoken": "", "thief": ""}


def test_the_origin_is_read_and_a_broken_one_is_none(site):
    """An editable install says where its code is; a direct_url.json that is not JSON says nothing."""
    site.add("local", direct_url={"url": site.prefix.as_uri(), "dir_info": {"editable": True}})
    (site.add("odd") / "direct_url.json").write_text("[]")

    origins = {each["name"]: (each["url"], each["editable"]) for each in read(site)["distributions"]}

    assert origins == {"local": (site.prefix.as_uri(), True), "odd": ("", False)}


def test_the_fingerprint_changes_with_what_is_installed(site):
    """Installing, removing and editing metadata change the fingerprint; running the code (bytecode) does not."""
    folder = site.add("one")
    before = distributions.fingerprint(site.environment)

    (site.path / "__pycache__").mkdir()
    os.utime(folder)
    assert distributions.fingerprint(site.environment) == before

    site.add("two")
    with_two = distributions.fingerprint(site.environment)
    with (folder / "METADATA").open("a") as file:
        file.write("more")
    assert len({before, with_two, distributions.fingerprint(site.environment)}) == 3


def test_summary_counts_in_words(site):
    """One distribution is singular, several are plural."""
    site.add("one")
    assert distributions.summary(read(site)) == "1 distribution"
    site.add("two")
    assert distributions.summary(read(site)) == "2 distributions"
