"""One materialization, from plan to settled record: what to do, and doing it.

User code is called in ``body`` and in ``decision`` (source versions) and nowhere else. No transaction is open while it runs.
"""
