"""Whoever is given the value of a sensitive asset is told of in the audit log, before the value is given."""

from __future__ import annotations

from flowstone.app.wiring import Deployment
from flowstone.assets.pipeline import Pipeline
from flowstone.audit import acts
from flowstone.stores import pipelines
from flowstone.stores.records import OutputRecord


def tell_read(deployment: Deployment, pipeline: Pipeline | None, record: OutputRecord) -> None:
    """Tell of a read of *record*, if its asset is sensitive now or was when it was made; raises what prevents that."""
    if not deployment.settings.audit.enabled or not _is_sensitive(deployment, pipeline, record):
        return
    services = deployment.services()
    with services.database.transaction() as tx:
        act = acts.data_read(record.asset, record.partition, record.id, record.digest)
        services.audit.tell(tx, act, deployment.who, services.database.now())
    deployment.seal()


def _is_sensitive(deployment: Deployment, pipeline: Pipeline | None, record: OutputRecord) -> bool:
    if pipeline is not None and record.asset in pipeline and pipeline[record.asset].sensitive:
        return True
    with deployment.reading().reading() as connection:
        made = pipelines.of_runs(connection, [record.run_id]).get(record.run_id, [])
    return any(asset.name == record.asset and asset.sensitive for asset in made)
