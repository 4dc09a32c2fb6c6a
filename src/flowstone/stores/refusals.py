"""What a PostgreSQL server refuses, and what to do about it.

The codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

_LOST = "the connection was lost; what was committed is safe, run again"
_NO_SERVER = "start the server, or check host and port of database.url"
_HINTS: tuple[tuple[tuple[str, ...], str, str, bool], ...] = (
    (("28",), "authentication failed", "check the user and the password of database.url", False),
    (("28",), "FATAL: role", "check the user and the password of database.url", False),
    (("3D",), "FATAL: database", "create it on the server (CREATE DATABASE …), or check the name in database.url", False),
    (("53300",), "too many clients", "the server's connections are all in use; try again, or raise its max_connections", True),
    (("53300",), "remaining connection slots", "the server's connections are all in use; try again later", True),
    (("57P03",), "starting up", "the server is starting or stopping; try again in a moment", True),
    (("53100",), "No space left", "free space on the server's disk and run again; what was committed is safe", True),
    (("25006",), "read-only transaction", "the server only reads; point database.url at the primary one", False),
    (("42501",), "permission denied", "GRANT this user the rights, or give it a schema: ?options=-csearch_path%3DNAME", False),
    (("42P07",), "", "these tables are somebody else's: give FlowStone a database of its own", False),
    (("40",), "", "transactions blocked each other; the same command can succeed", True),
    (("57P", "08"), "closed the connection", _LOST, True),
    ((), "connection is lost", _LOST, True),
    ((), "connection is closed", _LOST, True),
    ((), "connection failed", _NO_SERVER, True),
    ((), "connection is bad", _NO_SERVER, True),
    ((), "connection timeout", _NO_SERVER, True),
)


def advice(code: str, text: str) -> tuple[str | None, bool]:
    """The hint for the server's error *code* (SQLSTATE, which some failures to connect have not) or *text*, and whether the
    same command can succeed later.
    """
    for codes, part, hint, retryable in _HINTS:
        if (code and code.startswith(codes)) or (part and part in text):
            return hint, retryable
    return None, False
