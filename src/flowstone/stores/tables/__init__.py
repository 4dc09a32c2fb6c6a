"""The tables, by what they are about. Times are nanoseconds since the epoch, UTC; partitions are encoded keys, never null.

Definitions live here; statements are built in the module of their noun.
"""

from __future__ import annotations

from flowstone.stores.tables.attention import fold as fold
from flowstone.stores.tables.attention import notification as notification
from flowstone.stores.tables.attention import overdue as overdue
from flowstone.stores.tables.attention import series as series
from flowstone.stores.tables.attention import tick as tick
from flowstone.stores.tables.audit import audit_anchor as audit_anchor
from flowstone.stores.tables.audit import audit_disclosure as audit_disclosure
from flowstone.stores.tables.audit import audit_entry as audit_entry
from flowstone.stores.tables.audit import audit_head as audit_head
from flowstone.stores.tables.audit import audit_log as audit_log
from flowstone.stores.tables.audit import audit_prune as audit_prune
from flowstone.stores.tables.audit import audit_redaction as audit_redaction
from flowstone.stores.tables.audit import audit_seal as audit_seal
from flowstone.stores.tables.columns import metadata as metadata
from flowstone.stores.tables.data import current_output as current_output
from flowstone.stores.tables.data import hold as hold
from flowstone.stores.tables.data import lineage as lineage
from flowstone.stores.tables.data import output as output
from flowstone.stores.tables.decisions import approval as approval
from flowstone.stores.tables.decisions import approval_vote as approval_vote
from flowstone.stores.tables.evidence import error as error
from flowstone.stores.tables.evidence import error_group as error_group
from flowstone.stores.tables.evidence import event as event
from flowstone.stores.tables.evidence import log as log
from flowstone.stores.tables.work import attempt as attempt
from flowstone.stores.tables.work import materialization as materialization
from flowstone.stores.tables.work import pipeline as pipeline
from flowstone.stores.tables.work import process as process
from flowstone.stores.tables.work import run as run
from flowstone.stores.tables.work import slot as slot

SCHEMA_VERSION = "0005"
