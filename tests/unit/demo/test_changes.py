"""What differs between two snapshots."""

import json
import shutil

from flowstone_demo import changes, distributions


def test_what_came_went_and_changed_is_told_apart(site):
    """Added, removed and changed distributions are listed by name, with the version before and now."""
    site.add("kept")
    leaving = [site.add("gone", "0.1"), site.add("moved", "1.0")]
    before = distributions.read(site.environment)
    for folder in leaving:
        shutil.rmtree(folder)
    site.add("moved", "2.0")
    site.add("arrived", "3.0")

    found = changes.compare(before, distributions.read(site.environment))

    assert found["added"] == [{"distribution": "arrived", "before": "", "now": "3.0"}]
    assert found["removed"] == [{"distribution": "gone", "before": "0.1", "now": ""}]
    assert found["changed"] == [{"distribution": "moved", "before": "1.0", "now": "2.0"}]
    assert changes.summary(found) == "1 added, 1 removed, 1 changed"


def test_the_same_version_from_elsewhere_is_a_change(site):
    """An install that became editable is a change although name and version stayed."""
    site.add("lib")
    before = distributions.read(site.environment)
    (site.path / "lib-1.0.dist-info" / "direct_url.json").write_text(
        json.dumps({"url": site.prefix.as_uri(), "dir_info": {"editable": True}})
    )

    (change,) = changes.compare(before, distributions.read(site.environment))["changed"]

    assert change == {"distribution": "lib", "before": "1.0", "now": f"1.0 from {site.prefix.as_uri()} (editable)"}


def test_another_environment_is_said_to_be_one(site):
    """Comparing snapshots of two environments says so instead of only listing differences."""
    site.add("lib")
    now = distributions.read(site.environment)
    before = {**now, "environment": {**now["environment"], "prefix": "/elsewhere", "version": "3.8.0"}}

    found = changes.compare(before, now)

    assert [(each["distribution"], each["before"]) for each in found["environment"]] == [
        ("interpreter", "3.8.0"),
        ("prefix", "/elsewhere"),
    ]
    assert changes.summary(found) == "another interpreter, another prefix"


def test_an_unchanged_environment_has_no_changes(site):
    """Equal snapshots differ in nothing."""
    site.add("lib")
    snapshot = distributions.read(site.environment)

    found = changes.compare(snapshot, snapshot)

    assert not any(found.values())
    assert changes.summary(found) == "nothing changed"
