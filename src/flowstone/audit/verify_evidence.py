"""Verifies a bundle of evidence that FlowStone wrote. It is a program of its own: it needs Python 3.11 and ``cryptography``.

    python verify_evidence.py run.evidence --origin laptop/1f0c... --key 'laptop/1f0c...+1a2b3c4d+AbCd...'

Get origin and key from whoever answers for the log, not with the bundle. Exit code 0: proven, 1: it does not hold, 2: incomplete.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "flowstone-evidence@v1"
Part = dict[str, Any]


class Refused(Exception):  # noqa: N818 - what is said of the bundle
    """The bundle does not hold."""


def dumps(value: Any) -> bytes:
    """Canonical JSON of what entries hold (RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(text: str) -> bytes:
    """The bytes of base64, of which there is one form only."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Refused(f"{text[:40]!r} is not the base64 of anything")
    return data


def signed_text(note: str, key: str) -> str:
    """The text of a C2SP signed note with one signature, or two while a key is rotated; one of them must be of *key*."""
    name, id, data = key.strip().split("+", 2)
    raw = b64(data)
    if raw[:1] != b"\x01" or hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != id:
        raise Refused("the given key is no Ed25519 key whose id fits its name")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Refused("a signature is missing")
    found = [re.fullmatch("\u2014 ([^ +\n]+) ([A-Za-z0-9+/=]+)", line) for line in lines[:-1].split("\n")]
    if None in found or len(found) > 2:
        raise Refused("the signature lines are not as they must be")
    own = [b64(match[2]) for match in found if match and match[1] == name and b64(match[2])[:4].hex() == id]
    if len(own) != 1:
        raise Refused("it is not signed by the given key")
    try:
        Ed25519PublicKey.from_public_bytes(raw[1:]).verify(own[0][4:], (text + "\n").encode())
    except InvalidSignature as error:
        raise Refused("its signature is not that of the given key") from error
    return text + "\n"


def root_of(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to, by RFC 9162, section 2.1.3.2."""
    node, place, last = leaf_hash, index, size - 1
    if not 0 <= index < size:
        raise Refused(f"a log of {size} entries has no entry {index}")
    for sibling in proof:
        if last == 0 or len(sibling) != 32:
            raise Refused("a proof is longer than the tree is high")
        if place & 1 or place == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        place, last = place >> 1, last >> 1
    if last != 0:
        raise Refused("a proof is shorter than the tree is high")
    return node


def parts_of(data: bytes, origin: str, key: str) -> dict[str, list[Part]]:
    """The parts by their kind, after every byte was compared with what is signed."""
    body, newline, last = data.removesuffix(b"\n").rpartition(b"\n")
    body += newline
    try:
        note = json.loads(last)["note"]
        line = json.dumps({"part": "signature", "note": note}, separators=(",", ":"), ensure_ascii=False)
        if data != body + line.encode() + b"\n":
            raise Refused("the last line is not as it was written")
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if signed_text(note, key) != f"{FORMAT}\n{origin}\n{len(body)}\n{digest}\n":
            raise Refused("what is signed is another bundle: bytes were changed, or it is of another log")
        found: dict[str, list[Part]] = {}
        for row in body.removesuffix(b"\n").split(b"\n"):
            part = json.loads(row)
            found.setdefault(part["part"], []).append(part)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"it is no bundle: {error}") from error
    return found


def entry_of(part: Part, origin: str, size: int, root: bytes) -> Part:
    """The fields of an entry whose place in the log is proven, with what it discloses."""
    leaf = b64(part["leaf"])
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    if root_of(leaf_hash, part["seq"], size, [b64(one) for one in part["proof"]]) != root:
        raise Refused(f"entry {part['seq']} is not in the log")
    fields: Part = json.loads(leaf)
    if dumps(fields) != leaf or fields["v"] != 1 or fields["origin"] != re.sub(r"/([2-9]|[1-9]\d{1,5})$", "", origin):
        raise Refused(f"entry {part['seq']} is not an entry of this log")
    data = dict(fields["data"])
    for name, given in part.get("disclosures", {}).items():
        message = b"flowstone/commit/v1\x00" + name.encode() + b"\x00" + dumps(given["value"])
        promised = fields.get("commit", {}).get(name, "")
        if base64.b64encode(hmac.digest(b64(given["salt"]), message, "sha256")).decode() != promised:
            raise Refused(f"entry {part['seq']}: its {name} is not what it commits to")
        data[name] = given["value"]
    return {**fields, "data": data, "seq": part["seq"]}


def differences(parts: dict[str, list[Part]], entries: list[Part]) -> Iterator[str]:
    """What the records of the bundle say that no entry says, and the other way round."""
    told = {(entry["action"], entry["subject"]): entry["data"] for entry in entries}
    edges: dict[str, list[list[str]]] = {}
    for edge in parts.get("edge", []):
        edges.setdefault(edge["downstream"], []).append([edge["parameter"], edge["upstream"]])
    outputs = {output["id"]: output for output in parts.get("output", [])}
    run, rows = parts["run"][0], parts.get("materialization", [])
    if ("run.requested", f"run:{run['id']}") not in told:
        yield f"{run['id']}: no entry says that it was requested"
    for row in rows:
        kind = {"success": "materialization.succeeded", "failed": "materialization.failed"}.get(row["status"])
        data = told.get((kind, f"materialization:{row['id']}")) if kind else None
        if kind and data is None:
            yield f"{row['asset']}: no entry tells of its {row['status']}"
        elif data is not None and row["status"] == "success":
            output = outputs[row["output"]]
            inputs = hashlib.sha256(dumps(sorted(edges.get(output["id"], [])))).hexdigest()
            said = {"asset": output["asset"], "output": output["id"], "digest": output["digest"], "size": output["size"],
                    "definition": output["definition"], "inputs_digest": inputs}  # fmt: skip
            yield from (f"{row['asset']}: its {name} is not what its entry says" for name in said if said[name] != data.get(name))
    of_run = {f"materialization:{row['id']}" for row in rows}
    for entry in entries:
        if entry.get("run") == run["id"] and entry["subject"].startswith("materialization:") and entry["subject"] not in of_run:
            yield f"entry {entry['seq']} tells of {entry['subject']}, which is not in the bundle"


def verify(data: bytes, origin: str, key: str, say: Callable[[str], object] = print) -> int:
    """Verify the bytes of a bundle and say what was found; return the exit code."""
    try:
        parts = parts_of(data, origin, key)
        head = signed_text(parts["head"][0]["note"], key).split("\n")
        if head[0] != origin or len(head) != 4:
            raise Refused("its tree head is of another log")
        entries = [entry_of(part, origin, int(head[1]), b64(head[2])) for part in parts.get("entry", [])]
        wrong = list(differences(parts, entries))
    except (Refused, KeyError, IndexError, TypeError, ValueError) as error:
        say(f"REFUSED  {error if isinstance(error, Refused) else f'it is no bundle: {error!r}'}")
        return 1
    run = parts["run"][0]
    if wrong and not entries:
        say(f"INCOMPLETE  {run['id']}: the records are signed as they are now, and the audit log tells of none of them")
        return 2
    for text in wrong:
        say(f"DIFFERS  {text}")
    if not wrong:
        say(f"PROVEN  {run['id']}: {len(entries)} entries are in the log of {head[1]}, and every record agrees with them")
        say("Not checked: the bytes of outputs. Compare a file's SHA-256 with the digest of its output.")
    return 1 if wrong else 0


def main() -> int:
    """Read the command line and verify."""
    parser = argparse.ArgumentParser(description="Verify a bundle of evidence.")
    parser.add_argument("file")
    parser.add_argument("--origin", required=True)
    parser.add_argument("--key", required=True)
    asked = parser.parse_args()
    with open(asked.file, "rb") as file:  # noqa: PTH123 - plain Python for plain readers
        return verify(file.read(), asked.origin, asked.key)


if __name__ == "__main__":
    sys.exit(main())
