"""DATA: where values are stored and how they become bytes: memory, files, formats.

May not live here: facts about values (stores), who decides what is stored (execution), events and timings. An IO manager knows
a value, a target and an output; it has no database, emits nothing and never sees an asset's code.
"""

from flowstone.io_managers.external import External, ExternalIOManager
from flowstone.io_managers.files import FilesIOManager
from flowstone.io_managers.manager import Durability, IOManager, Output, Target
from flowstone.io_managers.memory import MemoryIOManager
from flowstone.io_managers.registry import IOManagers

__all__ = [
    "Durability", "External", "ExternalIOManager", "FilesIOManager", "IOManager", "IOManagers", "MemoryIOManager", "Output",
    "Target",
]  # fmt: skip
