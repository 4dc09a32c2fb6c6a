import msgspec


class Changes(msgspec.Struct, frozen=True):
    same: bool = False


def compare(old, new):
    return Changes(old == new)
