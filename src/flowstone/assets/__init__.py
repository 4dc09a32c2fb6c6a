"""What users write: assets, resources, partitions, retry and approval policies, and the pipeline that checks them together.

Pure declarations and the questions asked of them. Nothing here runs user code except when an asset is called, and nothing
touches a store, a clock or the network; the only files read are the sources that definition digests are taken of.
"""

from flowstone.assets.approval import Approval
from flowstone.assets.asset import AnyAsset, Asset, asset, source
from flowstone.assets.days import Daily
from flowstone.assets.definition import definition_digest, definition_notes, describe
from flowstone.assets.drawing import render_dot, render_mermaid, render_text
from flowstone.assets.graph import Graph
from flowstone.assets.keys import PartitionKey, decode_key, display_key, encode_key
from flowstone.assets.mappings import PartitionMapping, all_partitions, last, latest_before, same, upstream_keys
from flowstone.assets.partitions import Keys, Partitions, Static
from flowstone.assets.pipeline import Pipeline
from flowstone.assets.policies import Retry
from flowstone.assets.resources import Resource, resource
from flowstone.assets.signature import NO_DEFAULT, Parameter

__all__ = [
    "NO_DEFAULT",
    "AnyAsset",
    "Approval",
    "Asset",
    "Daily",
    "Graph",
    "Keys",
    "Parameter",
    "PartitionKey",
    "PartitionMapping",
    "Partitions",
    "Pipeline",
    "Resource",
    "Retry",
    "Static",
    "all_partitions",
    "asset",
    "decode_key",
    "definition_digest",
    "definition_notes",
    "describe",
    "display_key",
    "encode_key",
    "last",
    "latest_before",
    "render_dot",
    "render_mermaid",
    "render_text",
    "resource",
    "same",
    "source",
    "upstream_keys",
]
