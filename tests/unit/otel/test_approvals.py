"""What waits for people is no error of a trace: its spans end, those after the decision link back to them."""

from __future__ import annotations

import pytest
from opentelemetry.trace import StatusCode

from flowstone import Approval, Pipeline, asset
from flowstone.observability.otel import names
from flowstone.testing import isolated_flow


@asset(approval=Approval(approvers=["ann"], four_eyes=False))
def report():
    return {"rows": 3}


@asset
def letter(report):
    return f"{report['rows']} rows"


REPORTS = Pipeline("reports", [report, letter])


@pytest.fixture
def flow():
    """A flow on which ann decides."""
    with isolated_flow(REPORTS, actor="ann", approvals={"allow_asserted": True}) as made:
        yield made


def test_an_attempt_that_waits_is_no_error(traced, flow):
    """Its span says ``waiting``, with what it has made, and no result; that of the run says it was put aside for people."""
    flow.run()
    attempt, run = traced.span("report"), traced.span("RUN reports")

    assert attempt.attributes[names.OUTCOME] == "waiting"
    assert attempt.attributes[names.OUTPUT] == flow.approvals.requests()[0].output
    assert names.TASK_RESULT not in attempt.attributes
    assert (run.attributes[names.OUTCOME], run.attributes[names.REASON]) == ("suspended", "approval")
    assert names.RESULT not in run.attributes
    assert {span.status.status_code for span in traced.spans} == {StatusCode.UNSET}


def test_what_goes_on_after_the_decision_links_back(traced, flow):
    """The resumed run's span links to the first one, and the attempt that loads the approved value to the one that made it."""
    run_id = flow.run().run_id
    flow.approvals.approve(flow.approvals.requests()[0].id, "fine")
    flow.resume(run_id)
    first, resumed = traced.span("RUN reports"), traced.span("RUN reports", 1)
    made, loading = traced.span("report"), traced.span("letter")

    assert [link.context.span_id for link in resumed.links] == [first.context.span_id]
    assert [link.context.span_id for link in loading.links] == [made.context.span_id]
    assert len({span.context.trace_id for span in traced.spans}) == 1
    assert (resumed.attributes[names.OUTCOME], resumed.attributes[names.RESULT]) == ("success", "success")


def test_a_rejection_ends_a_run_whose_span_has_ended(traced, flow):
    """The span of a run that waits has ended: the end that a decision brings opens none, and turns none into an error."""
    flow.run()
    flow.approvals.reject(flow.approvals.requests()[0].id, "no")

    assert [run.status for run in flow.runs()] == ["failed"]
    assert [span.name for span in traced.spans].count("RUN reports") == 1
    assert traced.span("RUN reports").status.status_code == StatusCode.UNSET


def test_requests_and_decisions_are_log_records_of_their_trace(everything, flow):
    """What people are asked and decide is told as log records with the request's fields, in the trace of its run."""
    flow.run()
    (asked,) = flow.approvals.requests()
    flow.approvals.approve(asked.id, "fine")
    told = {record.event_name: record for record in everything.records if "checkpoint" in (record.event_name or "")}
    suspended = next(record for record in everything.records if record.event_name == "flowstone.run.suspended")

    assert set(told) == {"flowstone.checkpoint.requested", "flowstone.checkpoint.approved"}
    for record in told.values():
        assert record.attributes["flowstone.approval"] == asked.id
        assert f"{record.trace_id:032x}" == asked.trace_id
        assert record.severity_text == "INFO"
    assert suspended.severity_text == "INFO"
