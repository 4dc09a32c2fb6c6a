"""Approvals: who may decide, what a request holds, and the legal moves of a request from pending to its one ending.

Policies as they were stored, people, votes and transitions live here. Nothing here knows a run, an audit entry or a message:
what a decision means for them is told by the rooms above, in the same transaction.
"""
