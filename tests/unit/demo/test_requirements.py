"""Which requirements apply to the reviewed interpreter, and which are not met."""

from flowstone_demo import distributions, requirements


def resolve(site):
    return requirements.resolve(distributions.read(site.environment))


def edges(result):
    return [(edge["source"], edge["target"], edge["needs"]) for edge in result["edges"]]


def test_a_met_requirement_is_an_edge(site):
    """A requirement that is met is an edge between normalized names and nothing else."""
    site.add("app", headers=("Requires-Dist: Some_Lib>=1,<2",))
    site.add("some-lib", "1.5")

    result = resolve(site)

    assert edges(result) == [("app", "some-lib", "<2,>=1")]
    assert result["unsatisfied"] == []
    assert requirements.summary(result) == "1 edge, all satisfied"


def test_missing_and_mismatched_requirements_are_unsatisfied(site):
    """What is not installed and what has another version are both unsatisfied, with what was found."""
    site.add("app", headers=("Requires-Dist: absent", "Requires-Dist: lib<2"))
    site.add("lib", "2.0")

    result = resolve(site)

    assert [(each["requires"], each["needs"], each["found"]) for each in result["unsatisfied"]] == [
        ("absent", "", ""),
        ("lib", "<2", "2.0"),
    ]
    assert requirements.summary(result) == "2 edges, 2 unsatisfied"


def test_conflicting_requirements_name_each_other(site):
    """Where one distribution is content with a version and another is not, the unmet one names the content one."""
    site.add("one", headers=("Requires-Dist: lib>=2",))
    site.add("two", headers=("Requires-Dist: lib<2",))
    site.add("lib", "2.1")

    (unmet,) = resolve(site)["unsatisfied"]

    assert (unmet["distribution"], unmet["others"]) == ("two", ["one needs >=2"])


def test_markers_are_judged_for_the_reviewed_interpreter(site):
    """Markers are evaluated for the reviewed interpreter (a Python 3.9 on Windows here), not for the running one."""
    site.add(
        "app",
        headers=(
            "Requires-Dist: for-windows ; sys_platform == 'win32'",
            "Requires-Dist: for-linux ; sys_platform == 'linux'",
            "Requires-Dist: for-old ; python_version < '3.10'",
            "Requires-Dist: for-new ; python_version >= '3.10'",
        ),
    )

    assert {each["requires"] for each in resolve(site)["unsatisfied"]} == {"for-windows", "for-old"}


def test_extras_count_only_when_an_installed_distribution_asks_for_them(site):
    """An extra's requirements apply when another distribution asks for it, also through a chain of extras."""
    site.add("app", headers=("Requires-Dist: lib[Fast_Mode]",))
    site.add(
        "lib",
        headers=(
            "Requires-Dist: lib[deeper] ; extra == 'fast-mode'",
            "Requires-Dist: speed ; extra == 'deeper'",
            "Requires-Dist: never ; extra == 'docs'",
        ),
    )

    assert [each["requires"] for each in resolve(site)["unsatisfied"]] == ["speed"]


def test_a_prerelease_that_is_installed_can_satisfy(site):
    """An installed pre-release within the bounds satisfies: it is there, whoever chose it."""
    site.add("app", headers=("Requires-Dist: lib>=1",))
    site.add("lib", "2.0rc1")

    assert resolve(site)["unsatisfied"] == []


def test_the_wrong_python_is_unsatisfied(site):
    """A distribution that asks for another Python than the reviewed one is unsatisfied."""
    site.add("modern", headers=("Requires-Python: >=3.12",))

    (unmet,) = resolve(site)["unsatisfied"]

    assert (unmet["requires"], unmet["needs"], unmet["found"]) == ("Python", ">=3.12", "3.9.2")


def test_what_cannot_be_read_is_neither_met_nor_unmet(site):
    """Broken requirements, versions and specifiers are listed as unreadable and never as satisfied or unsatisfied."""
    site.add("app", headers=("Requires-Dist: ???", "Requires-Dist: odd>=1", "Requires-Python: whatever"))
    site.add("odd", "not a version")

    result = resolve(site)

    assert result["unsatisfied"] == []
    assert [each["problem"] for each in result["unreadable"]] == [
        "is not a requirement",
        "is not a version specifier",
        "cannot be compared with version 'not a version'",
    ]


def test_a_shadowed_distribution_does_not_count(site):
    """Where a name is installed twice, requirements meet the one that is found first."""
    site.add("app", headers=("Requires-Dist: lib>=2",))
    site.add("Lib", "1.0")
    site.add("lib", "2.0", headers=("Requires-Dist: absent",))

    (unmet,) = resolve(site)["unsatisfied"]

    assert (unmet["requires"], unmet["found"]) == ("Lib", "1.0")
