"""What happened, recorded inside the transaction of the change: the event log, lineage, errors. Recorders and their queries."""
