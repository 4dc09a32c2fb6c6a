"""The bill of materials as CycloneDX 1.6."""

import json
import re

import pytest

from flowstone_demo import bom


@pytest.fixture
def built(reviewed):
    stages = (reviewed["snapshot"], reviewed["licences"], reviewed["requirements"], reviewed["findings"])
    return bom.build(*stages, "2026-11-23")


def test_it_says_what_it_is(built):
    """Format, version, the snapshot's day and the environment are in the header."""
    assert (built["bomFormat"], built["specVersion"], built["version"]) == ("CycloneDX", "1.6", 1)
    assert built["metadata"]["timestamp"] == "2026-11-23T00:00:00+00:00"
    assert built["metadata"]["component"]["type"] == "platform"
    assert bom.summary(built) == "CycloneDX 1.6, 3 components"


def test_every_component_has_a_package_url(built):
    """Each distribution is a component identified by its PyPI package URL."""
    assert [component["purl"] for component in built["components"]] == [
        "pkg:pypi/good@1.0",
        "pkg:pypi/needy@1.0",
        "pkg:pypi/tampered@2.0",
    ]


def test_licences_are_identifiers_where_exact_and_absent_where_unknown(built):
    """An exact licence is an SPDX identifier; an unknown one is left out, never guessed."""
    licences = {component["name"]: component.get("licenses") for component in built["components"]}

    assert licences["good"] == [{"license": {"id": "MIT"}}]
    assert licences["needy"] is None


def test_findings_travel_with_their_component(built):
    """A tampered component carries its high finding, and the document what is not known."""
    properties = {component["name"]: {each["name"] for each in component["properties"]} for component in built["components"]}

    assert "environment-review:finding:high" in properties["tampered"]
    assert "environment-review:finding:high" not in properties["good"]
    assert {each["name"] for each in built["metadata"]["properties"]} == {"environment-review:not-known"}


def test_no_component_is_an_orphan(built):
    """The environment contains every component, and requirements between installed ones are edges."""
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in built["dependencies"]}

    assert depends["environment"] == [component["purl"] for component in built["components"]]
    assert depends["pkg:pypi/good@1.0"] == ["pkg:pypi/tampered@2.0"]


def test_equal_input_gives_an_equal_document(reviewed, built):
    """The serial number comes from the content: the same input gives the same document, another day another one."""
    stages = (reviewed["snapshot"], reviewed["licences"], reviewed["requirements"], reviewed["findings"])

    assert bom.build(*stages, "2026-11-23") == built == json.loads(json.dumps(built))
    assert bom.build(*stages, "2026-11-24")["serialNumber"] != built["serialNumber"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", built["serialNumber"])
