"""What a reviewer is told to look at, in which order, and what the review says it does not know."""

import json

from flowstone_demo import changes, distributions, findings, integrity, licences, requirements


def collect(site, compared=None, difference=None):
    snapshot = distributions.read(site.environment)
    result = compared or integrity.check(integrity.read_records(site.environment))
    return findings.collect(snapshot, result, licences.classify(snapshot), requirements.resolve(snapshot), difference)


def lines(found):
    return [(each["severity"], each["distribution"], each["text"]) for each in found["findings"]]


def test_findings_come_worst_first(reviewed):
    """A changed file is high; unmet requirements, strong copyleft and unknown licences are medium, in a fixed order."""
    found = reviewed["findings"]

    assert [(each["severity"], each["distribution"], each["about"]) for each in found["findings"]] == [
        ("high", "tampered", "files"),
        ("medium", "needy", "requirement"),
        ("medium", "needy", "requirement"),
        ("medium", "needy", "licence"),
        ("medium", "tampered", "licence"),
    ]
    assert found["counts"] == {"high": 1, "medium": 4, "low": 0}
    assert findings.summary(found) == "5 findings: 1 high, 4 medium"
    assert found["verdict"] == "1 of 3 compared files is not what was installed."


def test_a_finding_says_what_was_expected_and_what_was_found(reviewed):
    """Texts carry the evidence: both digests, the specifier and the version, the licence field."""
    texts = [each["text"] for each in reviewed["findings"]["findings"]]

    assert texts[0].startswith("tampered/b.py differs from what was installed (RECORD ")
    assert texts[1:] == [
        "needs absent, which is not installed",
        "needs tampered <2, found 2.0",
        'licence unknown: no expression, no classifier, free text "see website"',
        "GPL-3.0-or-later (copyleft), from its License-Expression field",
    ]


def test_many_files_of_one_distribution_are_one_finding(site):
    """More than three changed or missing files of a distribution are one line with their number and the first."""
    site.add("lib", files={f"lib/{name}.py": name for name in "abcde"}, headers=("License-Expression: MIT",))
    for name in "abcd":
        (site.path / "lib" / f"{name}.py").write_text("changed")
    (site.path / "lib" / "e.py").unlink()

    assert lines(collect(site)) == [
        ("high", "lib", "4 files differ from what was installed, the first: lib/a.py"),
        ("medium", "lib", "lib/e.py was installed and is gone"),
    ]


def test_origins_that_cannot_be_compared_are_low_findings(site):
    """Editable installs, direct URLs and distributions without RECORD are told one by one."""
    mit = ("License-Expression: MIT",)
    site.add("bare", record=False, headers=mit)
    site.add("local", headers=mit, direct_url={"url": site.prefix.as_uri(), "dir_info": {"editable": True}})
    site.add("vcs", headers=mit, direct_url={"url": "https://example.org/vcs.git", "vcs_info": {"vcs": "git"}})

    assert lines(collect(site)) == [
        ("low", "bare", "has no RECORD: none of its files can be compared"),
        ("low", "local", f"editable install of {site.prefix.as_uri()}: its code cannot be compared with anything"),
        ("low", "vcs", "installed from https://example.org/vcs.git, not from a package index"),
    ]


def test_changes_are_low_findings_once_there_is_an_earlier_snapshot(site):
    """With an earlier snapshot what came, went and changed is told, and the sentence on not knowing disappears."""
    site.add("old", headers=("License-Expression: MIT",))
    before = distributions.read(site.environment)
    site.add("new", headers=("License-Expression: MIT",))
    without = collect(site)

    found = collect(site, difference=changes.compare(before, distributions.read(site.environment)))

    assert lines(found) == [("low", "new", "is new since the earlier snapshot")]
    assert [text for text in without["not_known"] if text not in found["not_known"]] == [
        "What changed: there is no earlier snapshot to compare with."
    ]


def test_what_is_not_known_is_always_said(site):
    """Reasons for not checking are counted in words, and the sentence on RECORD is there even when all is well."""
    site.add("lib", files={"a.py": "a"}, rows=("b.pyc,,", "c.pyc,,", "broken"), headers=("License-Expression: MIT",))
    site.add("bare", record=False, headers=("License-Expression: MIT",))
    (site.path / "broken-1.dist-info").mkdir()

    said = collect(site)["not_known"]

    assert said[:4] == [
        "3 listed files carry no hash (mostly .pyc).",
        "1 listed file cannot be checked: bad RECORD line.",
        "2 distributions have no RECORD, so their files were not compared.",
        "The metadata of broken-1.dist-info cannot be read.",
    ]
    assert said[-1] == 'RECORD is not signed: a match means "as installed", not "as published".'


def test_the_verdict_never_calls_nothing_compared_good(site):
    """Where no file could be compared, the verdict says just that; where all match, it still points at the findings."""
    site.add("bare", record=False, headers=("License-Expression: MIT",))
    assert collect(site)["verdict"] == "Nothing could be compared with what was installed."
    assert findings.summary({**collect(site), "findings": []}) == "no findings"

    site.add("lib", files={"a.py": "a"}, headers=("License-Expression: MIT",))
    assert collect(site)["verdict"].endswith("nothing speaks against shipping in what was checked.")
    site.add("viral", headers=("License-Expression: GPL-3.0-only",))
    assert collect(site)["verdict"].endswith("look at the findings before shipping.")
    (site.path / "a.py").unlink()
    assert collect(site)["verdict"] == "Nothing could be compared with what was installed."


def test_findings_are_plain_data(reviewed):
    """The result survives JSON unchanged."""
    assert json.loads(json.dumps(reviewed["findings"])) == reviewed["findings"]
