"""What happened, recorded inside the transaction of the change: the event log, lineage, errors.

Recorders and their queries live here; decisions, user code and anything that observes after commit may not.
"""
