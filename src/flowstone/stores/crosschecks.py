"""Cross-checks over the tables: each is a question whose right answer is *none*."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from flowstone.stores.tables import attempt, metadata

_CHECKS = {
    "every attempt has its start event": """
        WITH a AS (SELECT m.run_id AS run_id, count(*) AS n FROM attempt t JOIN materialization m ON m.id = t.materialization
                   GROUP BY m.run_id),
             e AS (SELECT run_id, count(*) AS n FROM event WHERE name = 'flowstone.materialization.start' GROUP BY run_id)
        SELECT 'run ' || a.run_id FROM a LEFT JOIN e ON e.run_id = a.run_id WHERE a.n <> coalesce(e.n, 0)""",
    "every settled attempt has one ending event": """
        WITH a AS (SELECT m.run_id AS run_id, count(*) AS n FROM attempt t JOIN materialization m ON m.id = t.materialization
                   WHERE t.status <> 'running' GROUP BY m.run_id),
             e AS (SELECT run_id, count(*) AS n FROM event
                   WHERE name IN ('flowstone.materialization.stop', 'flowstone.materialization.exception') GROUP BY run_id)
        SELECT 'run ' || a.run_id FROM a LEFT JOIN e ON e.run_id = a.run_id WHERE a.n <> coalesce(e.n, 0)""",
    "every success has its output": """
        SELECT m.run_id || ' ' || m.asset FROM materialization m LEFT JOIN output o ON o.id = m.output
        WHERE m.status IN ('success', 'reused') AND o.id IS NULL""",
    "every recorded error has its event": """
        WITH r AS (SELECT run_id, count(*) AS n FROM error GROUP BY run_id),
             e AS (SELECT run_id, count(*) AS n FROM event WHERE name = 'flowstone.error' GROUP BY run_id)
        SELECT 'run ' || r.run_id FROM r LEFT JOIN e ON e.run_id = r.run_id WHERE r.n <> coalesce(e.n, 0)""",
    "no ended run has unsettled materializations": """
        SELECT m.run_id || ' ' || m.asset FROM materialization m JOIN run r ON r.id = m.run_id
        WHERE r.status IN ('success', 'partial', 'failed', 'cancelled') AND m.status IN ('running', 'retrying')""",
}


def disagreements(connection: Connection) -> list[tuple[str, int, str]]:
    """Each check's name, how many rows answer it, and the first of them."""
    found = []
    for name, query in _CHECKS.items():
        rows = list(connection.execute(text(query)).scalars())
        found.append((name, len(rows), str(rows[0]) if rows else ""))
    return found


def rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    counts = {table.name: select(func.count()).select_from(table) for table in metadata.sorted_tables}
    return {name: int(connection.execute(query).scalar_one()) for name, query in counts.items()}


def attempts(connection: Connection) -> int:
    """How many attempts there are."""
    return int(connection.execute(select(func.count()).select_from(attempt)).scalar_one())
