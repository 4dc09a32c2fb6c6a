"""The bill of materials: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), as plain JSON data.

Equal input gives equal output: the serial number is derived from the content and the time is the snapshot's day.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from flowstone_demo.distributions import Installed, Snapshot
from flowstone_demo.findings import Findings
from flowstone_demo.licences import Licence, Licences
from flowstone_demo.requirements import Requirements

SPECIFICATION = "1.6"
_PROPERTY = "environment-review:"
_NAMESPACE = uuid.UUID("0c9b1c55-6f0e-5d0b-9a55-3d6f4a2f1c10")


def build(snapshot: Snapshot, licences: Licences, requirements: Requirements, findings: Findings, day: str) -> dict[str, Any]:
    """Return the bill of materials of *snapshot*; each component carries its own findings. *day* is ``2026-11-23``."""
    installed = [each for each in snapshot["distributions"] if not each["shadowed"]]
    licence_of = {(each["name"], each["version"]): each for each in licences["distributions"]}
    components: dict[str, Component] = {
        canonicalize_name(each["name"]): _component(each, licence_of[(each["name"], each["version"])], findings)
        for each in installed
    }
    environment = Component(
        type=ComponentType.PLATFORM,
        name="Python environment",
        version=snapshot["environment"]["version"],
        bom_ref="environment",
        properties=[Property(name=_PROPERTY + "prefix", value=snapshot["environment"]["prefix"])],
    )
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    bom = Bom(
        serial_number=uuid.UUID(int=0),
        metadata=BomMetaData(component=environment, timestamp=midnight, properties=_what_is_not_known(findings)),
        components=components.values(),
    )
    _register(bom, environment, components, requirements)
    return _with_serial_number(bom)


def summary(bom: dict[str, Any]) -> str:
    """Return what the bill of materials holds, in words."""
    count = len(bom.get("components", []))
    return f"CycloneDX {bom['specVersion']}, {count:,} component{'' if count == 1 else 's'}"


def _component(installed: Installed, licence: Licence, findings: Findings) -> Component:
    name = canonicalize_name(installed["name"])
    purl = PackageURL(type="pypi", name=name, version=installed["version"])
    own = (installed["name"], installed["version"])
    said = [each for each in findings["findings"] if (each["distribution"], each["version"]) == own]
    properties = [Property(name=f"{_PROPERTY}finding:{each['severity']}", value=each["text"]) for each in said]
    properties.append(Property(name=_PROPERTY + "licence-evidence", value=licence["evidence"]))
    origin = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(installed["url"]))] if installed["url"] else []
    return Component(
        type=ComponentType.LIBRARY,
        name=installed["name"],
        version=installed["version"],
        description=installed["summary"] or None,
        bom_ref=purl.to_string(),
        purl=purl,
        licenses=_licences(licence),
        external_references=origin,
        properties=properties,
    )


def _licences(licence: Licence) -> list[Any]:
    if licence["spdx"]:
        return [LicenseFactory().make_from_string(licence["spdx"])]
    return [DisjunctiveLicense(name=licence["said"])] if licence["said"] else []


def _what_is_not_known(findings: Findings) -> list[Property]:
    return [Property(name=_PROPERTY + "not-known", value=text) for text in findings["not_known"]]


def _register(bom: Bom, environment: Component, components: dict[str, Component], requirements: Requirements) -> None:
    """Record who needs whom; the environment itself contains everything."""
    bom.register_dependency(environment, components.values())
    needed: dict[str, set[str]] = {name: set() for name in components}
    for edge in requirements["edges"]:
        if edge["target"] in components:
            needed[edge["source"]].add(edge["target"])
    for name, component in components.items():
        bom.register_dependency(component, [components[target] for target in sorted(needed[name])])


def _with_serial_number(bom: Bom) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del written["serialNumber"]
    serial = uuid.uuid5(_NAMESPACE, json.dumps(written, sort_keys=True))
    return {**written, "serialNumber": serial.urn}
