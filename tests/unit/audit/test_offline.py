"""An export and a proof are verified from their bytes alone, and everything that was done to them is found."""

from __future__ import annotations

import base64
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.audit import lines
from flowstone.audit.leaf import Disclosure, disclose, leaf
from flowstone.audit.lines import FORMAT
from flowstone.audit.note import Signer, TreeHead, sign
from flowstone.audit.offline import verify_export, verify_proof
from flowstone.audit.offline_report import OfflineReport
from flowstone.audit.tlog_proof import InclusionProof, encoded, inclusion_proof_of
from flowstone.audit.tree import Frontier, consistency_proof, hash_leaf, inclusion_proof, root_of
from flowstone.foundation.errors import ProofError

ORIGIN = "laptop/1f0c"
SIGNER = Signer(ORIGIN, bytes(range(32)))
STRANGER = Signer(ORIGIN, bytes(32))
KEYS = [SIGNER.public]
Lines = list[dict[str, Any]]


def entry(number: int, *disclosures: Disclosure, action: str = "run.requested", data: dict[str, Any] | None = None) -> bytes:
    """The bytes of an entry."""
    fields = {
        "origin": ORIGIN, "project": "shop", "subject": f"run:{number}", "version": 1, "at": 1_790_000_000_000_000 + number,
        "actor": "dev", "identity": "os", "action": action, "outcome": "success", "data": data or {},
    }  # fmt: skip
    return leaf(fields, disclosures)


REASON = disclose("reason", "ticket 4711")
GONE = disclose("reason", "flu")
LEAVES = [
    *(entry(number) for number in range(8)), entry(8, REASON), entry(9, GONE),
    entry(10), entry(11), entry(12, action="audit.redacted", data={"entry": 9, "field": "reason"}), entry(13),
]  # fmt: skip
HASHES = [hash_leaf(one) for one in LEAVES]
ROOT = root_of(HASHES)


def subtree(begin: int, end: int) -> bytes:
    """The hash of some leaves."""
    return root_of(HASHES[begin:end])


def note(size: int = len(LEAVES), signers: tuple[Signer, ...] = (SIGNER,), origin: str = ORIGIN) -> str:
    """The signed tree head of that size."""
    return sign(TreeHead(origin, size, subtree(0, size)).text(), signers)


def entry_line(number: int) -> dict[str, Any]:
    """The line of one entry."""
    line: dict[str, Any] = {"seq": number, "leaf": encoded(LEAVES[number]), "leaf_hash": encoded(HASHES[number])}
    if number == 9:
        line["redacted"] = ["reason"]
    if number == 8:
        line["disclosures"] = {"reason": {"salt": encoded(REASON.salt), "value": REASON.value}}
    return line


def export(begin: int = 0, end: int = len(LEAVES), size: int = len(LEAVES)) -> Lines:
    """An honest export of a range."""
    before = Frontier()
    for one in HASHES[:begin]:
        before.add(one)
    header = {"format": FORMAT, "origin": ORIGIN, "begin": begin, "end": end, "before": [encoded(one) for one in before.peaks]}
    trailer: dict[str, Any] = {"head": note(size)}
    if end < size:
        trailer["consistency"] = [encoded(one) for one in consistency_proof(subtree, end, size)]
    return [header, *(entry_line(number) for number in range(begin, end)), trailer]


def chosen(*numbers: int) -> Lines:
    """An honest export of some entries."""
    size = len(LEAVES)
    header = {"format": FORMAT, "origin": ORIGIN, "begin": 0, "end": size, "chosen": "actor=dev", "root": encoded(ROOT)}
    proofs = {number: [encoded(one) for one in inclusion_proof(subtree, number, size)] for number in numbers}
    return [header, *({**entry_line(number), "proof": proofs[number]} for number in numbers), {"head": note()}]


def verified(tmp_path: Path, what: Lines | bytes, **options: Any) -> OfflineReport:
    """What verifying says of these lines."""
    path = tmp_path / "export.ndjson"
    path.write_bytes(what if isinstance(what, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in what))
    return verify_export(path, options.pop("origin", ORIGIN), options.pop("keys", KEYS), **options)


def test_an_honest_export_is_intact(tmp_path):
    """A whole export is intact: every entry, the disclosure, the redaction and the signature are verified."""
    report = verified(tmp_path, export())

    assert (report.verdict, report.exit, report.findings, report.incomplete) == ("INTACT", 0, [], [])
    assert (report.entries, report.size, report.disclosures) == (14, 14, 1)
    assert report.signers == (f"{ORIGIN}+{SIGNER.public.id.hex()}",)


@given(st.data())
def test_every_range_is_proven_by_a_later_head(tmp_path_factory, data):
    """Any range of entries is proven by any head that comes after it; what else the log has is said to be missing."""
    size = data.draw(st.integers(1, len(LEAVES)))
    end = data.draw(st.integers(1, size))
    begin = data.draw(st.integers(0, end - 1))
    report = verified(tmp_path_factory.mktemp("range"), export(begin, end, size), begin=begin, end=end)
    asked_all = verified(tmp_path_factory.mktemp("range"), export(begin, end, size))

    assert report.findings == []
    assert (report.begin, report.end, report.entries) == (begin, end, end - begin)
    assert any(said.startswith("entries ") for said in asked_all.incomplete) == ((begin, end) != (0, size))


def test_chosen_entries_are_proven_one_by_one(tmp_path):
    """Chosen entries are proven each by itself; that there are no others is said to be unproven."""
    report = verified(tmp_path, chosen(3, 8, 13))

    assert report.findings == []
    assert (report.entries, report.disclosures, report.exit) == (3, 1, 2)
    assert "no other one fits is not proven" in report.incomplete[0]


def other_entry(line: dict[str, Any]) -> None:
    """Put another entry in the place of this one, with its own hash."""
    line |= {"leaf": encoded(entry(99)), "leaf_hash": encoded(hash_leaf(entry(99)))}


def replace(place: int, **fields: Any) -> Callable[[Lines], object]:
    """Change fields of a line."""
    return lambda lines: lines[place].update(fields)


TAMPERED: dict[str, tuple[str, Callable[[Lines], object]]] = {
    "an entry's bytes": ("changed", replace(4, leaf=encoded(entry(99)))),
    "an entry and its hash": ("root", lambda lines: other_entry(lines[4])),
    "an entry is gone": ("order", lambda lines: lines.pop(4)),
    "the last entry is gone": ("root", lambda lines: lines.pop(-2)),
    "the last entry is gone, and the header knows": ("root", lambda lines: (lines.pop(-2), lines[0].update(end=13))),
    "an entry twice": ("order", lambda lines: lines.insert(4, lines[4])),
    "two entries swapped": ("order", lambda lines: lines.insert(4, lines.pop(5))),
    "two entries swapped and numbered again": (
        "root", lambda lines: (lines.insert(4, lines.pop(5)), lines[4].update(seq=3), lines[5].update(seq=4)),
    ),
    "another reason": ("disclosure", lambda lines: lines[9]["disclosures"]["reason"].update(value="ticket 1")),
    "a reason nobody committed to": ("disclosure", replace(2, disclosures={"reason": {"salt": "AAAA", "value": "x"}})),
    "a salt that is no base64": ("disclosure", lambda lines: lines[9]["disclosures"]["reason"].update(salt="?")),
    "a reason is gone": ("undisclosed", lambda lines: lines[9].pop("disclosures")),
    "a head of a stranger": ("signature", replace(-1, head=note(signers=(STRANGER,)))),
    "a head of another log": ("signature", replace(-1, head=note(origin="laptop/2"))),
    "a head whose root was changed": ("signature", replace(-1, head=note().replace("\n14\n", "\n15\n"))),
    "an older head": ("root", replace(-1, head=note(13))),
    "the hash is no hash": ("order", replace(4, leaf_hash="AAAA")),
    "the entry is no base64": ("malformed", replace(4, leaf="?")),
    "the entry is no entry": ("malformed", replace(4, leaf=encoded(b"{}"), leaf_hash=encoded(hash_leaf(b"{}")))),
    "another origin": ("foreign", replace(0, origin="laptop/2")),
    "another format": ("unreadable", replace(0, format="flowstone-audit-export@v2")),
    "a negative beginning": ("unreadable", replace(0, begin=-1)),
    "peaks that are none": ("unreadable", replace(0, before=["AAAA"])),
    "a later beginning": ("unreadable", replace(0, begin=1)),
    "an unknown field": ("unreadable", replace(4, comment="x")),
    "no header": ("unreadable", lambda lines: lines.pop(0)),
    "no head": ("unreadable", lambda lines: lines.pop()),
    "a consistency proof nobody needs": ("root", replace(-1, consistency=[encoded(bytes(32))] * 100)),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_done_to_an_export_is_found(tmp_path, name):
    """Every change of an export is found, and says what kind it is."""
    kind, change = TAMPERED[name]
    given_lines = export()
    change(given_lines)
    report = verified(tmp_path, given_lines)

    assert report.exit == 1
    assert kind in {finding.kind for finding in report.findings}


CHOSEN: dict[str, tuple[str, Callable[[Lines], object]]] = {
    "another entry": ("order", lambda lines: other_entry(lines[2])),
    "another place": ("order", replace(2, seq=9)),
    "no proof": ("order", lambda lines: lines[2].pop("proof")),
    "an entry twice": ("order", lambda lines: lines.insert(2, lines[2])),
    "another root": (
        "root",
        lambda lines: (lines[0].update(root=encoded(subtree(0, 13)), end=13), lines.__delitem__(slice(1, 4))),
    ),
    "bytes of another entry": ("changed", replace(2, leaf=encoded(entry(99)))),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_what_was_done_to_chosen_entries_is_found(tmp_path, name):
    """Every change of an export of chosen entries is found."""
    kind, change = CHOSEN[name]
    given_lines = chosen(3, 8, 13)
    change(given_lines)
    report = verified(tmp_path, given_lines)

    assert (report.exit, kind in {finding.kind for finding in report.findings}) == (1, True)


def test_every_byte_of_a_line_counts(tmp_path):
    """Whatever byte of an entry's line is changed, the export is not intact any more."""
    whole = b"".join(json.dumps(line).encode() + b"\n" for line in export(0, 3, 3))
    begin = whole.index(b"\n") + 1
    spoilt = []
    for place in range(begin, whole.index(b"\n", begin)):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        if verified(tmp_path, changed).exit == 0 and json.loads(changed.splitlines()[1]) != json.loads(whole.splitlines()[1]):
            spoilt.append(place)

    assert spoilt == []


def test_what_cannot_be_checked_is_said(tmp_path):
    """Without a key, without a signature, without disclosures or bytes an export is incomplete, and never intact."""
    unsigned = export()
    unsigned[-1]["head"] = TreeHead(ORIGIN, 14, subtree(0, 14)).text()
    withheld = export()
    withheld[0]["withheld"] = True
    del withheld[9]["disclosures"]
    pruned = export()
    del pruned[3]["leaf"]
    said = {
        "no key": verified(tmp_path, export(), keys=[]), "no signature": verified(tmp_path, unsigned),
        "withheld": verified(tmp_path, withheld), "pruned": verified(tmp_path, pruned),
    }  # fmt: skip

    assert {name: (report.exit, len(report.incomplete), report.findings) for name, report in said.items()} == {
        name: (2, 1, []) for name in said
    }


def test_a_log_that_was_set_back_has_another_origin(tmp_path):
    """A head of the log's second incarnation is accepted by who expects it, and by nobody else; entries keep their origin."""
    second = [*export()[:-1], {"head": note(origin=f"{ORIGIN}/2")}]

    assert verified(tmp_path, second, origin=f"{ORIGIN}/2").verdict == "INTACT"
    assert verified(tmp_path, second).findings[0].kind == "signature"
    assert verified(tmp_path, export(), origin=f"{ORIGIN}/2").findings[0].kind == "signature"


def test_a_redaction_must_come_after_what_it_redacts(tmp_path):
    """A missing disclosure is excused by a later entry only, and one that names entry and field."""
    gone = entry(9, GONE)
    for told, excused in (
        ({"entry": 1, "field": "reason"}, True), ({"entry": 1, "field": "name"}, False), ({"entry": 0, "field": "reason"}, False),
    ):  # fmt: skip
        leaves = [entry(0), gone, entry(2, action="audit.redacted", data=told)]
        hashes = [hash_leaf(one) for one in leaves]
        rows = [{"seq": n, "leaf": encoded(one), "leaf_hash": encoded(hashes[n])} for n, one in enumerate(leaves)]
        head = sign(TreeHead(ORIGIN, 3, root_of(hashes)).text(), [SIGNER])
        header = {"format": FORMAT, "origin": ORIGIN, "begin": 0, "end": 3}
        report = verified(tmp_path, [header, *rows, {"head": head}])
        rows[1]["redacted"] = ["reason"]
        said = verified(tmp_path, [header, *rows, {"head": head}])

        assert [finding.kind for finding in report.findings] == ([] if excused else ["undisclosed"])
        assert said.exit == (0 if excused else 2)  # that the file says so proves nothing


HOSTILE = {
    "nothing": b"",
    "one endless line": b"x" * (lines.MAX_LINE + 10),
    "no newline at the end": b'{"format":"x"}',
    "deep": b"[" * 100_000 + b"\n",
    "numbers without end": b'{"format":"' + FORMAT.encode() + b'","origin":"a","begin":' + b"9" * 5_000 + b',"end":1}\n',
    "a size beyond every file": b'{"format":"' + FORMAT.encode() + b'","origin":"a","begin":0,"end":9223372036854775807}\n' * 2,
    "no UTF-8": b"\xff\xfe\n\n\n",
    "only newlines": b"\n" * 100,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name):
    """A hostile file is a finding: never an exception, never an intact log."""
    assert verified(tmp_path, HOSTILE[name]).exit == 1


def test_a_long_export_costs_no_memory(tmp_path):
    """An export of many entries whose findings nobody could read takes no more memory than a short one."""
    path = tmp_path / "long.ndjson"
    with path.open("wb") as file:
        file.write(json.dumps({"format": FORMAT, "origin": ORIGIN, "begin": 0, "end": 30_000}).encode() + b"\n")
        for number in range(30_000):
            file.write(json.dumps({**entry_line(4), "seq": number, "leaf": encoded(entry(99))}).encode() + b"\n")
        file.write(json.dumps({"head": note()}).encode() + b"\n")
    verified(tmp_path, export())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = verify_export(path, ORIGIN, KEYS)

    assert (report.told["changed"], len([f for f in report.findings if f.kind == "changed"])) == (30_000, 1_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000  # kB


# -- proofs -------------------------------------------------------------------------------------------------------------------


def proof(number: int = 9) -> InclusionProof:
    """An honest proof of one entry."""
    return InclusionProof(number, tuple(inclusion_proof(subtree, number, 14)), note(), LEAVES[number])


def test_a_proof_is_written_as_the_specification_says():
    """The text of a proof has the lines of c2sp.org/tlog-proof, and is read back as it was."""
    text = proof().text()
    hashes = "".join(f"{encoded(one)}\n" for one in inclusion_proof(subtree, 9, 14))

    assert text == f"c2sp.org/tlog-proof@v1\nextra {encoded(LEAVES[9])}\nindex 9\n{hashes}\n{note()}"
    assert inclusion_proof_of(text) == proof()
    assert inclusion_proof_of(InclusionProof(0, (), note(1)).text()).text() == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note(1)}"


@pytest.mark.parametrize("number", range(14))
def test_an_honest_proof_is_intact(number):
    """The proof of every entry is verified, and says which entry it proves."""
    report = verify_proof(proof(number).text(), ORIGIN, KEYS)

    assert (report.verdict, report.begin, report.size) == ("INTACT", number, 14)
    assert report.fields is not None
    assert report.fields["subject"] == f"run:{number}"


def test_a_proof_of_another_entry_is_refused():
    """A proof proves the entry whose bytes are hashed, whatever else it says."""
    text = proof().text()

    assert verify_proof(text, ORIGIN, KEYS, LEAVES[9]).exit == 0
    assert verify_proof(text, ORIGIN, KEYS, LEAVES[8]).exit == 1
    assert verify_proof(proof()._replace(extra=LEAVES[8]).text(), ORIGIN, KEYS).exit == 1
    assert verify_proof(proof()._replace(extra=b"").text(), ORIGIN, KEYS).exit == 2
    assert verify_proof(text, "laptop/2", KEYS).exit == 1
    assert verify_proof(text, ORIGIN, [STRANGER.public]).exit == 1
    assert verify_proof(text, ORIGIN, []).exit == 2


def test_an_inner_node_is_no_entry():
    """Two hashes put together, which hash to a node of the tree, pass for no entry: leaves and nodes hash differently."""
    node = HASHES[0] + HASHES[1]
    shorter = InclusionProof(0, proof(0).hashes[1:], note(), node)

    assert verify_proof(shorter.text(), ORIGIN, KEYS).exit == 1


@given(st.data())
def test_a_mutated_proof_is_refused(data):
    """No byte of a proof can be changed without its being refused, unless it is still the same proof."""
    text = proof(data.draw(st.integers(0, 13))).text().encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != text[place]))
    mutated = (text[:place] + bytes([byte]) + text[place + 1 :]).decode("utf-8", errors="replace")
    report = verify_proof(mutated, ORIGIN, KEYS)

    assert report.verdict != "INTACT", mutated  # an unknown signer's line is nobody's concern; there is none here


@pytest.mark.parametrize("text", [
    "", "c2sp.org/tlog-proof@v2\nindex 0\n\n" + note(), "c2sp.org/tlog-proof@v1\n\n" + note(),
    "c2sp.org/tlog-proof@v1\nindex 01\n\n" + note(), "c2sp.org/tlog-proof@v1\nindex -1\n\n" + note(),
    "c2sp.org/tlog-proof@v1\nindex 9\nAAAA\n\n" + note(), "c2sp.org/tlog-proof@v1\nextra ?\nindex 9\n\n" + note(),
    "c2sp.org/tlog-proof@v1\nindex 9\n" + (base64.b64encode(bytes(32)).decode() + "\n") * 64 + "\n" + note(), "x" * 1_000_000,
])  # fmt: skip
def test_what_is_no_proof_is_refused(text):
    """A text that is no proof is refused when it is read, not when it is used."""
    with pytest.raises(ProofError):
        inclusion_proof_of(text)
