"""Cross-checks over the tables: each is a question whose right answer is *none*."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, select, text

from flowstone.foundation.errors import UsageError
from flowstone.stores import series
from flowstone.stores.cursors import place_of, places
from flowstone.stores.tables import attempt, metadata

_CHOSEN = """
    WITH chosen(id, project, status, ended_at) AS (
        SELECT id, project, status, ended_at FROM run WHERE project = :project ORDER BY requested_at DESC LIMIT :runs
    )"""
# A prune takes the first event of a run first: a run that has it has all its events. Errors of a run go together.
_HAS_ITS_EVENTS = "EXISTS (SELECT 1 FROM event f WHERE f.run_id = c.id AND f.name = 'flowstone.run.start')"
_NOT_PRUNED_SINCE = """coalesce(c.ended_at, 9223372036854775807) >= coalesce((
            SELECT max(p.at) FROM event p WHERE p.run_id IS NULL AND p.name = 'flowstone.db.pruned' AND p.project = c.project
        ), 0)"""
_ATTEMPTS = "SELECT count(*) FROM materialization m JOIN attempt t ON t.materialization = m.id WHERE m.run_id = c.id"
_EVENTS = "SELECT count(*) FROM event e WHERE e.run_id = c.id AND e.name"
_EARLIER = "b.status = 'approved' AND b.ended_at < a.ended_at"
ASKED = "every attempt that waits is one that people are asked about"
WAITING = "everything that waits has an open request"
OPEN = "every open request has somebody who waits for it"
APPROVED = "what was approved was made current"
CANDIDATES = "nothing is current that was not approved"
_CHECKS = {
    "every run has its events, or they were pruned": f"""
        SELECT 'run ' || c.id FROM chosen c
        WHERE NOT {_HAS_ITS_EVENTS} AND {_NOT_PRUNED_SINCE}""",
    "every attempt has its start event": f"""
        SELECT 'run ' || c.id FROM chosen c
        WHERE ({_ATTEMPTS}) <> ({_EVENTS} = 'flowstone.materialization.start') AND {_HAS_ITS_EVENTS}""",
    "every settled attempt has one ending event": f"""
        SELECT 'run ' || c.id FROM chosen c
        WHERE ({_ATTEMPTS} AND t.status <> 'running')
            <> ({_EVENTS} IN ('flowstone.materialization.stop', 'flowstone.materialization.exception')) AND {_HAS_ITS_EVENTS}""",
    "every success has its output": """
        SELECT m.run_id || ' ' || m.asset
        FROM chosen c JOIN materialization m ON m.run_id = c.id LEFT JOIN output o ON o.id = m.output
        WHERE m.status IN ('success', 'reused') AND o.id IS NULL""",
    "every recorded error has its event": f"""
        SELECT 'run ' || c.id FROM chosen c
        WHERE (SELECT count(*) FROM error r WHERE r.run_id = c.id) <> ({_EVENTS} = 'flowstone.error') AND {_HAS_ITS_EVENTS}
          AND (EXISTS (SELECT 1 FROM error r WHERE r.run_id = c.id) OR {_NOT_PRUNED_SINCE})""",
    "no ended run has unsettled materializations": """
        SELECT m.run_id || ' ' || m.asset FROM chosen c JOIN materialization m ON m.run_id = c.id
        WHERE c.status IN ('success', 'partial', 'failed', 'cancelled') AND m.status IN ('running', 'retrying', 'waiting')""",
    ASKED: """
        SELECT m.run_id || ' ' || m.asset FROM chosen c JOIN materialization m ON m.run_id = c.id
        WHERE (SELECT count(*) FROM attempt t WHERE t.materialization = m.id AND t.status = 'waiting')
            <> (SELECT count(*) FROM approval a WHERE a.run_id = c.id AND a.materialization = m.id AND a.kind = 'after')""",
    WAITING: """
        SELECT m.run_id || ' ' || m.asset FROM chosen c JOIN materialization m ON m.run_id = c.id
        WHERE m.status = 'waiting' AND NOT EXISTS (
            SELECT 1 FROM approval a
            WHERE a.project = m.project AND a.asset = m.asset AND a.partition = m.partition AND a.status = 'pending'
        )""",
    OPEN: """
        SELECT a.id || ' of ' || c.id FROM chosen c JOIN approval a ON a.run_id = c.id
        LEFT JOIN materialization m ON m.id = a.materialization
        WHERE a.status = 'pending' AND (
            c.status IN ('success', 'partial', 'failed', 'cancelled') OR m.id IS NULL OR m.status <> 'waiting'
        )""",
    APPROVED: f"""
        SELECT a.id || ' of ' || c.id FROM chosen c JOIN approval a ON a.run_id = c.id AND a.kind = 'after'
        LEFT JOIN materialization m ON m.id = a.materialization LEFT JOIN output o ON o.id = a.output
        WHERE a.status = 'approved' AND (
            o.id IS NULL OR m.id IS NULL OR m.status <> 'success' OR m.output <> a.output OR o.digest <> a.digest OR EXISTS (
                SELECT 1 FROM current_output p JOIN approval b ON b.output = p.output
                WHERE p.project = a.project AND p.asset = a.asset AND p.partition = a.partition AND {_EARLIER}
            )
        )""",
    CANDIDATES: """
        SELECT a.id || ' of ' || c.id FROM chosen c JOIN approval a ON a.run_id = c.id AND a.kind = 'after'
        WHERE a.status <> 'approved' AND EXISTS (SELECT 1 FROM current_output p WHERE p.output = a.output)""",
}


def disagreements(connection: Connection, project: str, newest: int) -> list[tuple[str, int, str]]:
    """Each check's name, how many rows of the *newest* runs answer it, and the first of them."""
    found = []
    for name, query in _CHECKS.items():
        rows = list(connection.execute(text(_CHOSEN + query), {"project": project, "runs": newest}).scalars())
        found.append((name, len(rows), str(rows[0]) if rows else ""))
    return found


def misplaced(connection: Connection, project: str, metrics: Collection[str], *, pruned: bool) -> list[str]:
    """Those of *metrics* whose cursor is none, is behind events that were *pruned*, or ahead of what is recorded."""
    order = places(connection).order
    first = connection.execute(select(*order).order_by(*order).limit(1)).first()
    least = tuple(first) if pruned and first is not None else ()
    most = _position(places(connection).end(), len(order))
    wrong = []
    for metric, reached in series.reached(connection, project).items():
        position = _position(reached.cursor, len(order))
        if metric in metrics and not (position and least <= position <= most):
            wrong.append(metric)
    return wrong


def _position(cursor: str, parts: int) -> tuple[int, ...]:
    """A cursor as numbers to compare; nothing for a text that is none."""
    if parts == 1:
        return (int(cursor),) if cursor.isdecimal() else ()
    try:
        return place_of(cursor)
    except UsageError:
        return ()


def rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    counts = {table.name: select(func.count()).select_from(table) for table in metadata.sorted_tables}
    return {name: int(connection.execute(query).scalar_one()) for name, query in counts.items()}


def attempts(connection: Connection) -> int:
    """How many attempts there are."""
    return int(connection.execute(select(func.count()).select_from(attempt)).scalar_one())
