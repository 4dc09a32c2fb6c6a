"""The data types of the SSH protocol that keys and signatures are written in: RFC 4251, section 5."""

from __future__ import annotations

from flowstone.foundation.errors import SignatureError


def string(data: bytes) -> bytes:
    """The bytes as ``string``: their number in four bytes, then they."""
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    """A number that is not negative as ``mpint``: as few bytes as keep its first bit free for the sign."""
    return string(number.to_bytes((number.bit_length() + 8) // 8, "big") if number else b"")


class Reader:
    """Takes *data* apart from its beginning, strictly; errors call it *what*."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    def take(self, count: int) -> bytes:
        """The next *count* bytes; raises :class:`SignatureError` where there are fewer."""
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise SignatureError(f"{self._what} is cut off after {len(self._data)} bytes", hint="copy it whole")
        self._at += count
        return taken

    def number(self, size: int) -> int:
        """The number in the next *size* bytes."""
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        """The bytes of a ``string``."""
        return self.take(self.number(4))

    def name(self) -> str:
        """A ``string`` that names an algorithm or a space of names; what is no UTF-8 is shown escaped."""
        return self.string().decode("utf-8", "backslashreplace")

    def mpint(self) -> int:
        """A positive ``mpint`` in its shortest form; raises :class:`SignatureError` for any other."""
        data = self.string()
        number = int.from_bytes(data, "big")
        if number == 0 or string(data) != mpint(number):
            raise SignatureError(f"{self._what} has a number that is not positive, or longer than it need be")
        return number

    def end(self) -> None:
        """Raise :class:`SignatureError` unless everything is taken."""
        if rest := len(self._data) - self._at:
            raise SignatureError(f"{self._what} goes on for {rest} bytes after its end", hint="copy it whole, and nothing else")
