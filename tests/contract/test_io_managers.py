"""The shipped IO managers keep the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstone.io_managers import FilesIOManager, IOManager, MemoryIOManager
from flowstone.testing.io_contract import FileContract, IOManagerContract


class TestMemory(IOManagerContract):
    """Memory keeps what every manager must."""

    @pytest.fixture
    def manager(self) -> IOManager:
        return MemoryIOManager()


class TestFiles(FileContract):
    """Files keep what every manager and every keeper of files must."""

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        return FilesIOManager(tmp_path)


class TestDurableFiles(FileContract):
    """Files that survive a power cut keep the same."""

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        return FilesIOManager(tmp_path, durability="power")
