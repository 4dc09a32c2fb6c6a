"""Verifies a bundle of evidence that FlowStone wrote. It is a program of its own: it needs Python 3.11 and ``cryptography``.

    python verify_evidence.py run.evidence --origin laptop/1f0c... --key 'laptop/1f0c...+1a2b3c4d+AbCd...'

Get origin and key from whoever answers for the log, not with the bundle; so, too, the file of allowed signers, whose keys sign
decisions (--allowed-signers). Exit code 0: proven, 1: it does not hold, 2: incomplete.
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
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

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
    yield from decisions(parts, entries, edges)


def sha(value: Any) -> str:
    """The SHA-256 of canonical JSON, in hexadecimal."""
    return hashlib.sha256(dumps(value)).hexdigest()


def decisions(parts: dict[str, list[Part]], entries: list[Part], edges: dict[str, list[list[str]]]) -> Iterator[str]:
    """What requests for approval and votes of the bundle say that no entry says, and the other way round."""
    outputs = {output["id"]: output for output in parts.get("output", [])}
    asked = {row["id"]: row for row in parts.get("approval", [])}
    told: dict[str, list[Part]] = {}
    for entry in entries:
        if entry["subject"].startswith("approval:"):
            told.setdefault(entry["subject"][9:], []).append(entry)
    for id in told.keys() - asked.keys():
        yield f"entry {told[id][0]['seq']} tells of the request {id}, which is not in the bundle"
    for id, row in asked.items():
        made = outputs.get(row["output"])
        inputs = sha(sorted(edges.get(row["output"], [])))
        candidate = {n: made[n] for n in ("digest", "size", "definition")} | {"inputs_digest": inputs} if made else {}
        yield from request(row, told.get(id, []), candidate)
    known = {(id, each["data"]["vote"]["decision"]): each for id in asked for each in told.get(id, []) if "vote" in each["data"]}
    for vote in parts.get("vote", []):
        yield from ballot(vote, known.pop((vote["approval"], vote["decision"]), None))
    for (id, _), entry in known.items():
        yield f"entry {entry['seq']} tells of a vote on {id} that is not in the bundle"
    answered = {(each["asset"], each["partition"], each["status"]) for each in asked.values()}
    for row in parts.get("materialization", []):
        status = {"waiting": "pending", "rejected": "rejected", "expired": "expired"}.get(row["status"])
        if status and (row["asset"], row["partition"], status) not in answered:
            yield f"{row['asset']}: no request says why it is {row['status']}"


def request(row: Part, told: list[Part], candidate: Part) -> Iterator[str]:
    """How a request differs from the entry that made it, and from the newest one about it."""
    id, first = row["id"], next((each["data"] for each in told if each["action"] == "approval.requested"), None)
    if first is None:
        yield f"{id}: no entry says that it was requested"
        return
    record = sha([*(row[n] for n in ("project", "pipeline", "partition", "trace_id", "materialization")), row["facts"]])
    said = {n: row[n] for n in ("kind", "asset", "output", "digest", "requester")} | {"record": record, **candidate}
    yield from (f"{id}: its {name} is not what its entry says" for name in said if said[name] != first.get(name))
    now = {n: row[n] for n in ("status", "decided_by", "decided_identity", "reminders")} | {"policy": sha(row["policy"])}
    times = {n: (row[n] or 0) // 1000 for n in ("deadline", "next_at", "escalated_at", "ended_at")}
    newest, now = told[-1]["data"], {**now, **times, "revision": row["version"]}
    yield from (f"{id}: its {name} is not what its newest entry says" for name in now if now[name] != newest.get(name))


def ballot(vote: Part, entry: Part | None) -> Iterator[str]:
    """How a vote differs from its entry."""
    names = ("decision", "verdict", "voter", "identity", "digest", "signature", "key")
    said = {n: vote[n] for n in names} | {"at": vote["at"] // 1000, "seen": sha(vote["seen"])}
    if entry is None or entry["data"]["vote"] != said:
        yield f"{vote['approval']}: the vote of {vote['voter']} is not what its entry says"
    elif vote["comment"] != entry["data"].get("comment", "" if "comment" not in entry.get("commit", {}) else vote["comment"]):
        yield f"{vote['approval']}: the comment of {vote['voter']} is not what its entry says"


# -- signatures of decisions: those of ssh-keygen -Y sign ------------------------------------------------------------------------

HIDDEN = re.compile(
    "[\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
NAMESPACE = "flowstone-decision"
CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()), b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}  # fmt: skip


class Wire:
    """Strings of the SSH protocol, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        """The next bytes."""
        taken, self.data = self.data[:count], self.data[count:]
        if len(taken) != count:
            raise Refused("a signature is cut off")
        return taken

    def string(self) -> bytes:
        """The next string."""
        return self.take(int.from_bytes(self.take(4), "big"))


def check_key(key: Wire, kind: bytes, signature: Wire, data: bytes) -> None:
    """Raise unless the signature, of the type *kind*, is the key's."""
    if kind == b"ssh-ed25519":
        Ed25519PublicKey.from_public_bytes(key.string()).verify(signature.string(), data)
    elif kind == b"ssh-rsa":
        exponent, modulus = (int.from_bytes(key.string(), "big") for _ in range(2))
        if modulus.bit_length() < 2048:
            raise Refused("an RSA key is too short")
        raw = signature.string().rjust((modulus.bit_length() + 7) // 8, b"\0")
        RSAPublicNumbers(exponent, modulus).public_key().verify(raw, data, PKCS1v15(), hashes.SHA512())
    else:
        curve, digest = CURVES[key.string()]
        pair = Wire(signature.string())
        r, s = (int.from_bytes(pair.string(), "big") for _ in range(2))
        ec.EllipticCurvePublicKey.from_encoded_point(curve, key.string()).verify(
            encode_dss_signature(r, s), data, ec.ECDSA(digest)
        )


def signer_of(armored: str, message: bytes) -> str:
    """The fingerprint of the key whose signature of *message* it is; raises for any other."""
    lines = armored.removesuffix("\n").split("\n")
    outer = Wire(b64("".join(lines[1:-1])))
    if (lines[0], lines[-1]) != ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"):
        raise Refused("it is no SSH signature")
    head, blob, named, reserved = outer.take(10), outer.string(), outer.string(), outer.string()
    digest, signature = outer.string(), Wire(outer.string())
    if (head, named, reserved, outer.data) != (b"SSHSIG\0\0\0\1", NAMESPACE.encode(), b"", b"") or digest not in (
        b"sha256",
        b"sha512",
    ):
        raise Refused("it was not made to sign a decision")
    hashed = hashlib.new(digest.decode(), message).digest()
    parts = [NAMESPACE.encode(), b"", digest, hashed]
    data = b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    key, algorithm = Wire(blob), signature.string()
    kind = key.string()
    if algorithm != (b"rsa-sha2-512" if kind == b"ssh-rsa" else kind):
        raise Refused(f"this program does not check signatures of the type {algorithm.decode('ascii', 'replace')}")
    plain = kind.removeprefix(b"sk-").removesuffix(b"@openssh.com")
    if kind.startswith(b"sk-"):  # a token signs digests, with its flags and counter between; its application ends the key
        material = Wire(key.data)
        for _ in range(1 if plain == b"ssh-ed25519" else 2):
            material.string()
        raw, flags, counter = signature.string(), signature.take(1), signature.take(4)
        if not flags[0] & 1:
            raise Refused("the token signed without anybody touching it")
        data = hashlib.sha256(material.string()).digest() + flags + counter + hashlib.sha256(data).digest()
        signature.data = len(raw).to_bytes(4, "big") + raw + signature.data
    try:
        check_key(key, plain, signature, data)
    except InvalidSignature as error:
        raise Refused("the signature is of something else") from error
    if signature.data:
        raise Refused("a signature goes on after its end")
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def statement(entry: Part) -> bytes:
    """What the vote in an entry must have signed."""
    data, vote = entry["data"], entry["data"]["vote"]
    at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=vote["at"])).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    values = {
        "approval": entry["subject"].removeprefix("approval:"), "project": entry["project"], "asset": data["asset"],
        "partition": data.get("partition", ""), "verdict": vote["verdict"], "digest": vote["digest"],
        "comment": data.get("comment", ""), "actor": entry["actor"], "at": at,
    }  # fmt: skip
    shown = {n: HIDDEN.sub(lambda m: json.dumps(m[0])[1:-1], json.dumps(text, ensure_ascii=False)) for n, text in values.items()}
    return "\n".join(["flowstone decision v1", *(f"{name}: {text}" for name, text in shown.items()), ""]).encode()


def signers_in(text: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Each name and fingerprint of a file of allowed signers, with the seconds from and to which the key counts."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*([^\s\"*?!]+)\s+(?:(\S+)\s+)?[a-z0-9@.-]+\s+(AAAA\S+)(?:\s.*)?", line)
        options = dict(re.findall(r'([a-z-]+)="([^"]*)"', match[2] or "")) if match else {}
        if match is None or ",".join(f'{name}="{value}"' for name, value in options.items()) != (match[2] or ""):
            raise Refused(f"line {number} of the allowed signers is not understood: flowstone audit verify-export reads more")
        times = [
            datetime.strptime(options.pop(n, d), "%Y%m%d%H%M%SZ") for n, d in (("valid-after", FIRST), ("valid-before", LAST))
        ]
        span = tuple(round(time.replace(tzinfo=UTC).timestamp()) for time in times)
        if options.pop("namespaces", NAMESPACE).split(",").count(NAMESPACE) != 1 or options:
            continue
        fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(b64(match[3])).digest()).decode().rstrip("=")
        found |= {(name, fingerprint): (span[0], span[1]) for name in match[1].split(",")}
    return found


FIRST, LAST = "19700101000001Z", "99991231235959Z"


def check_signatures(entries: list[Part], signers: str | None) -> tuple[list[str], list[str]]:
    """What is wrong with the signatures of decisions, and what was checked of them or not."""
    wrong, keys, counts = [], signers_in(signers) if signers is not None else {}, {"own": 0, "open": 0, "hidden": 0}
    for entry in entries:
        vote = entry["data"].get("vote", {})
        if not (vote.get("signature") or vote.get("key")):
            continue
        if entry.get("commit", {}).keys() & {"comment", "partition"} - entry["data"].keys():
            counts["hidden"] += 1
            continue
        try:
            if vote["voter"] != entry["actor"] or signer_of(vote["signature"], statement(entry)) != vote["key"]:
                raise Refused("it is of another person, or of another key")
        except (Refused, ValueError, KeyError, TypeError) as error:
            wrong.append(f"entry {entry['seq']}: the signature of {vote.get('voter')} does not fit: {error}")
            continue
        since, until = keys.get((vote["voter"], vote["key"]), (0, -1))
        if signers is not None and not since <= vote["at"] // 1_000_000 <= until:
            wrong.append(f"entry {entry['seq']}: {vote['key']} was no key of {vote['voter']} by the allowed signers")
        counts["open" if signers is None else "own"] += 1
    said = {"own": "decisions are signed by who decided", "hidden": "signed decisions have no comment here: not checked",
            "open": "decisions are signed; whose keys these are was not checked: --allowed-signers FILE"}  # fmt: skip
    return wrong, [f"{count} {said[name]}" for name, count in counts.items() if count]


def verify(data: bytes, origin: str, key: str, say: Callable[[str], object] = print, signers: str | None = None) -> int:
    """Verify the bytes of a bundle and say what was found; return the exit code."""
    try:
        parts = parts_of(data, origin, key)
        head = signed_text(parts["head"][0]["note"], key).split("\n")
        if head[0] != origin or len(head) != 4:
            raise Refused("its tree head is of another log")
        entries = [entry_of(part, origin, int(head[1]), b64(head[2])) for part in parts.get("entry", [])]
        wrong = list(differences(parts, entries))
        unsigned, signed = check_signatures(entries, signers)
        wrong += unsigned
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
        for text in signed:
            say(text)
        say("Not checked: the bytes of outputs. Compare a file's SHA-256 with the digest of its output.")
    return 1 if wrong else 0


def main() -> int:
    """Read the command line and verify."""
    parser = argparse.ArgumentParser(description="Verify a bundle of evidence.")
    parser.add_argument("file")
    parser.add_argument("--origin", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--allowed-signers")
    asked = parser.parse_args()
    signers = None
    if asked.allowed_signers is not None:
        with open(asked.allowed_signers, encoding="utf-8") as listed:  # noqa: PTH123 - plain Python for plain readers
            signers = listed.read()
    with open(asked.file, "rb") as file:  # noqa: PTH123 - plain Python for plain readers
        return verify(file.read(), asked.origin, asked.key, signers=signers)


if __name__ == "__main__":
    sys.exit(main())
