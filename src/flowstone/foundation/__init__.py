"""Ground: errors, ids, clock, serialization, redaction, settings, loading.

Imports nothing of FlowStone's. A module enters here only when several floors need it and it needs none of them.
"""
