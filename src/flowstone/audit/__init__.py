"""The audit log: entries that commit with the change they tell of, a tree over them, heads that are signed, and proofs of it all.

What is hashed, signed, proved and verified lives here, with the queries it needs; deciding, user code and whatever is observed
after commit may not. ``tree``, ``note`` and ``leaf`` know no database: a verifier of an export needs nothing else.
"""
