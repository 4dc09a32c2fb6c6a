"""Sizes as people read them."""

from __future__ import annotations


def bytes_of(size: int) -> str:
    """A size in bytes, kB, MB or GB (powers of 1,000)."""
    if size < 1000:
        return f"{size} bytes" if size != 1 else "1 byte"
    value, units = size / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    unit = units[0]
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
