"""Operating-system failures told as storage errors: what could not be done, why, and whether waiting helps."""

from __future__ import annotations

import errno
import os
from typing import Any

from flowstone.foundation.errors import FlowStoneError, StorageError, TransientStorageError

_NAMES_OF_TRANSIENT = (
    "EAGAIN EBUSY ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH EINTR EMFILE ENETDOWN ENETRESET ENETUNREACH ENFILE "
    "ENOBUFS ESTALE ETIMEDOUT"
)
TRANSIENT = frozenset(getattr(errno, name) for name in _NAMES_OF_TRANSIENT.split() if hasattr(errno, name))

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then run again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run again",
    errno.EACCES: "this user may not do that there: check the folder's owner and mode",
    errno.EPERM: "this user may not do that there: check the folder's owner and mode",
    errno.EROFS: "the file system is mounted read-only: choose another folder",
    errno.EIO: "the disk reports a fault: check it before anything else",
}


def storage_error(error: OSError, doing: str, **context: Any) -> StorageError:
    """Return the storage error for *error*, met while *doing* (``"store asset 'orders'"``)."""
    reason = os.strerror(error.errno) if error.errno is not None else str(error) or type(error).__name__
    name = errno.errorcode.get(error.errno, "") if error.errno is not None else ""
    place = f" ({error.filename})" if error.filename else ""
    kind = TransientStorageError if error.errno in TRANSIENT else StorageError
    hint = _HINTS.get(error.errno) if error.errno is not None else None
    return kind(f"could not {doing}: {reason}{place}", hint=hint, errno=name, **context)


def tell_about(error: FlowStoneError, subject: str, **context: Any) -> None:
    """Put *subject* in front of the message and *context* into the error, which is on its way up."""
    error.message = f"{subject}: {error.message}"
    error.args = (error.message,)
    error.context.update(context)
