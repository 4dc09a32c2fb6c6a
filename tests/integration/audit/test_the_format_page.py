"""The page that defines the formats is enough: the verifier that stands there verifies a real export, and no other one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flowstone.audit import redaction
from flowstone.audit.acts import LOG
from flowstone.audit.export import Range, export_range
from flowstone.audit.leaf import FIELDS
from flowstone.audit.lines import FORMAT, MAX_LINE, EntryLine, Header, Trailer

PAGE = Path(__file__).resolve().parents[3] / "docs" / "audit" / "format.md"


@pytest.fixture
def whole(small_log):
    """A log with disclosures, a redaction and several heads; the lines of its export, its origin and its key."""
    small_log.sealed(3, reason='ticket "4711"\n\u00e9')
    small_log.sealed(9)
    redaction.redact(small_log.keeper, 1, (), "asked by the person")
    small_log.sealed(4, subject=LOG, reason="more")
    with small_log.database.reading() as connection:
        lines = list(export_range(connection, Range()))
    return lines, small_log.origin, str(small_log.keys[0])


@pytest.fixture
def verify():
    """The function ``verify`` of the page."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["verify"]


def test_the_verifier_of_the_page_verifies_a_real_export(verify, whole):
    """Code that knows the page alone reads a real export and finds it proven."""
    lines, origin, key = whole
    entries = verify(lines, origin, key)

    assert len(entries) == 17
    assert entries[12]["action"] == "audit.redacted"


CHANGES = {
    "an entry": lambda lines: lines.__setitem__(3, lines[4].replace(b'"seq":3', b'"seq":2')),
    "its order": lambda lines: lines.insert(3, lines.pop(4)),
    "an entry gone": lambda lines: lines.pop(3),
    "the last entry gone": lambda lines: lines.pop(-2),
    "a reason": lambda lines: lines.__setitem__(1, lines[1].replace(b"4711", b"4712")),
    "a reason gone": lambda lines: lines.__setitem__(1, re.sub(rb',"disclosures":\{.*?\}\}', b"", lines[1])),
    "the signature": lambda lines: lines.__setitem__(-1, lines[-1].replace(b"=\\n", b"A\\n")),
    "the head": lambda lines: lines.__setitem__(-1, lines[-1].replace(b"\\n17\\n", b"\\n18\\n")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_verifier_of_the_page_refuses_what_was_changed(verify, whole, name):
    """Whatever is changed in the export, the verifier of the page refuses it."""
    lines, origin, key = whole
    before = list(lines)
    CHANGES[name](lines)

    assert lines != before
    with pytest.raises(Exception):  # noqa: B017, PT011 - the page's verifier is as short as it can be: it raises
        verify(lines, origin, key)


def test_the_verifier_of_the_page_believes_no_other_key_and_no_other_log(verify, whole, make_log, tmp_path):
    """The right lines with another origin, or another log's key, are refused."""
    lines, origin, key = whole
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "anchors").mkdir()
    other = make_log(f"sqlite:///{tmp_path / 'other' / 'x.db'}")
    other.sealed(1)
    for wrong in ((lines, origin + "x", key), (lines, origin, str(other.keys[0]))):
        with pytest.raises(Exception):  # noqa: B017, PT011 - see above
            verify(*wrong)


def test_the_page_names_everything_a_line_may_have():
    """Each key of an entry, and of each kind of line, is on the page, with the limits that are enforced."""
    page = PAGE.read_text(encoding="utf-8")
    keys = {*FIELDS, *(field for cls in (Header, EntryLine, Trailer) for field in cls.__struct_fields__)}

    assert {key for key in keys if f"`{key}`" not in page} == set()
    assert FORMAT in page
    assert f"{MAX_LINE:,}" in page


def test_an_export_has_no_key_that_is_not_on_the_page(whole):
    """What is really written has the keys of the page and no others."""
    lines, *_ = whole
    page = PAGE.read_text(encoding="utf-8")

    assert {key for line in lines for key in json.loads(line) if f"`{key}`" not in page} == set()
