"""Keys that change, and logs that begin again after a restore: both are entries, and both are signed by who could sign before."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.audit.acts import KEYS_ROTATED, LOG, REINCARNATED, Act, reincarnated
from flowstone.audit.keeper import Keeper
from flowstone.audit.note import PublicKey, Signer
from flowstone.audit.origins import incarnation, of_incarnation
from flowstone.audit.sealing import LOCK, Sealed
from flowstone.audit.state import PinnedKey, head_in
from flowstone.audit.tlog_proof import encoded
from flowstone.foundation.errors import AuditError, RollbackDetectedError, UsageError
from flowstone.stores import audit

TRIES = 5
"""How often a head with both signatures is tried for, while another process seals what was meant for it."""


class Rotated(NamedTuple):
    """The key before and after, and the size of the head that both have signed."""

    old: PublicKey
    new: PublicKey
    size: int
    note: str


def rotate(keeper: Keeper, reason: str) -> Rotated:
    """Put a new key in the place of the old one: an entry says so, and one head is signed by both.

    Broken off at any point, it is done by rotating again, and until then whatever was signed is still trusted.
    """
    _key(keeper)
    with keeper.sealer.state.rotating():
        done = _rotate(keeper, reason)
    keeper.anchors.write()
    return done


def _rotate(keeper: Keeper, reason: str) -> Rotated:
    state = keeper.sealer.state
    old, new = _key(keeper), state.next_key(keeper.origin)
    keeper.sealer.seal()
    for _ in range(TRIES):
        act = Act(KEYS_ROTATED, LOG, "success", {"old": str(old.public), "new": str(new.public)}, {"reason": reason})
        with keeper.database.transaction(power=True) as tx:
            keeper.append(tx, act, keeper.database.now())
        sealed = keeper.sealer.seal([old, new])
        if sealed:
            break
    else:
        raise AuditError("another process sealed the entry of the new key before both could sign it", hint="try again")
    head = sealed[-1]
    pins = [pin for pin in state.pinned() if pin.key != new.public]
    number = incarnation(head.head.origin)
    pinned = PinnedKey(new.public, head.head.size, None, number)
    state.pin([*pins, pinned])
    with keeper.database.transaction() as tx:
        tx.lock(LOCK)  # nobody signs with the old key while it is given up
        last = audit.last_head(tx)
        assert last is not None
        state.take_next_key()
        closed = [pin._replace(until=last.size, until_incarnation=number) if pin.until is None else pin for pin in pins]
        state.pin([*closed, pinned])
    return Rotated(old.public, new.public, head.head.size, head.note)


def reincarnate(keeper: Keeper, reason: str) -> Sealed:
    """Go on after a restore that was meant: a new incarnation, told by an entry and signed by the key of the log.

    Raises :class:`UsageError` when the log goes on as it is.
    """
    _key(keeper)
    if _goes_on(keeper):
        raise UsageError("the log goes on from what was signed: nothing is to be declared", hint="flowstone audit verify")
    note = keeper.sealer.state.head()
    remembered = head_in(note) if note else None
    with keeper.database.transaction(power=True) as tx:
        tx.lock(LOCK)
        origins, last = audit.incarnations(tx), audit.last_head(tx)
        seen = incarnation(remembered.origin) if remembered else 1
        number = max(origins[-1][0], seen) + 1
        act, now = reincarnated(number, last.size if last else 0, reason), keeper.database.now()
        if remembered is not None:
            act = act._replace(data={**act.data, "seen": remembered.size, "root": encoded(remembered.root)})
        keeper.append(tx, act, now)
        audit.begin_incarnation(tx, number, of_incarnation(keeper.origin, number), "", now)  # the entry discloses the reason
    sealed = keeper.sealer.seal(anew=True)
    keeper.anchors.write()
    return sealed[-1]


def take_over(keeper: Keeper, before: str, reason: str) -> Sealed:
    """Go on with another log in the place of the log *before*: it says so itself, and its keeper has the key of the old one."""
    act = Act(REINCARNATED, LOG, "success", {"incarnation": 1, "size": 0, "instead_of": before}, {"reason": reason})
    with keeper.database.transaction(power=True) as tx:
        keeper.append(tx, act, keeper.database.now())
    sealed = keeper.sealer.seal()
    keeper.anchors.write()
    return sealed[-1]


def _key(keeper: Keeper) -> Signer:
    """The log's key; raises :class:`AuditError` where it is not."""
    signer = keeper.sealer.state.key(keeper.origin, create=False)
    if signer is None:
        raise AuditError(f"the key of the log {keeper.origin} is not here", hint="act as the user who seals the log")
    return signer


def _goes_on(keeper: Keeper) -> bool:
    """Whether everything that was signed or anchored is in the log as it is."""
    try:
        keeper.sealer.require_log_goes_on()
        keeper.anchors.require_log_goes_on()
    except RollbackDetectedError:
        return False
    return True
