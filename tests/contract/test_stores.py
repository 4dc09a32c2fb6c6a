"""The store keeps its contract on every database."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstone.testing.store_contract import StoreContract


class TestSqliteFile(StoreContract):
    """A SQLite file keeps it."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'flowstone.db'}"


class TestSqliteInMemory(StoreContract):
    """SQLite in memory, one connection for all, keeps it."""

    @pytest.fixture
    def url(self) -> str:
        return "sqlite://"


class TestPostgres(StoreContract):
    """PostgreSQL, where writers write beside each other, keeps it."""

    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
