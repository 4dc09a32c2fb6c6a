"""W3C Trace Context as FlowStone reads and writes it, and span ids every process computes alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.events.trace import (
    SAMPLED,
    Trace,
    parent_of,
    parse_traceparent,
    requested_by,
    run_span_id,
    run_trace,
    span_id_of,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_header_is_read_whole():
    """Trace id, span id, flags and state come out of the headers of the W3C's own example."""
    found = parse_traceparent(HEADER, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")

    assert found == Trace(TRACE, SPAN, 1, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert found.header == HEADER


@pytest.mark.parametrize(
    "header",
    [
        None, "", "nonsense", TRACE,
        f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01-more", f"ff-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01", f"00-{TRACE}-{SPAN}x-01", f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE}-{SPAN}-01\n00-{TRACE}-{SPAN}-01", f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)  # fmt: skip
def test_an_invalid_header_is_ignored(header):
    """What is not a valid ``traceparent`` says nothing, and neither does the state beside it."""
    assert parse_traceparent(header, "congo=1") is None


def test_a_header_of_a_later_version_is_read_as_far_as_it_is_known():
    """Version 01 may say more behind the flags, of which only the first is known."""
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-ff-more") == Trace(TRACE, SPAN, SAMPLED)


@pytest.mark.parametrize("state", ["a=1,a=2", "A=1", "noequals", "a=\x01", ",".join(f"k{n}=1" for n in range(33)), "a=1,=2"])
def test_an_invalid_state_is_left_out_alone(state):
    """A ``tracestate`` that is not valid does not cost the header beside it."""
    assert parse_traceparent(HEADER, state) == Trace(TRACE, SPAN, 1)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_the_parser(header, state):
    """Whatever comes in is a trace with valid ids, or nothing."""
    found = parse_traceparent(header, state)

    assert found is None or re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found.header)


@given(st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.integers(1, 9)))
def test_a_span_id_is_a_function_of_the_attempt(place):
    """The id of an attempt's span is 16 hexadecimal digits and differs between neighbouring attempts and from its run's."""
    run_id, asset, partition, attempt = place
    found = span_id_of(*place)

    assert re.fullmatch(r"[0-9a-f]{16}", found)
    assert found == span_id_of(*place)
    assert len({found, span_id_of(run_id, asset, partition, attempt + 1), run_span_id(run_id), run_span_id(run_id, 1)}) == 4


def test_span_ids_are_the_same_in_every_version():
    """The ids are part of what is recorded elsewhere: they do not change."""
    assert span_id_of("run_1", "orders", "2026-01-01", 1) == "e072526c04d1b543"
    assert run_span_id("run_1") == "8b1eda42242c85d0"


@pytest.mark.parametrize("parent", [None, Trace(TRACE, SPAN, 0), Trace(TRACE, SPAN, 1, "congo=1")])
def test_what_asked_for_a_run_survives_its_request(parent):
    """The parent's ids, flags and state come back out of the stored request; whoever asks decides about sampling."""
    request = {"force": True, **requested_by(parent)}
    own = run_trace("run_1", TRACE, request)

    assert parent_of(request) == parent
    assert (own.trace_id, own.span_id) == (TRACE, run_span_id("run_1"))
    assert (own.flags, own.state) == ((parent.flags, parent.state) if parent else (SAMPLED, ""))
