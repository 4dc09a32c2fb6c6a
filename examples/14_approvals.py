"""A gate: what an asset makes is a candidate until somebody else has said yes to exactly these bytes.

Run it: python examples/14_approvals.py
"""

import tempfile

from flowstone import Approval, ApprovalError, FlowStone, Pipeline, asset
from flowstone.testing import isolated_settings


@asset
def prices() -> dict:
    return {"apple": 3, "pear": 4}


@asset(approval=Approval("May we sell at these prices?", approvers=["grace"]))
def offer(ctx, prices) -> dict:
    return ctx.ask_approval(prices, message=f"{len(prices)} prices. May we?", context={"currency": "EUR"})


@asset
def letter(offer) -> str:
    return ", ".join(f"{name} {price}" for name, price in offer.items())


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        # One person plays both roles here. A real project leaves allow_asserted out.
        settings = isolated_settings(home, approvals={"allow_asserted": True})
        with FlowStone(Pipeline("shop", [prices, offer, letter]), settings=settings, actor="ada") as flow:
            result = flow.run()
            print(f"the run is {result.status}, because people must decide: {result.asks}")
            (request,) = flow.approvals.requests()
            print(f"asked: {request.facts['message']}")
            try:
                flow.approvals.approve(request.id, "mine is fine")
            except ApprovalError as error:
                print(f"ada: {error.message}")
            with FlowStone(settings=settings, actor="grace") as grace:
                decided = grace.approvals.approve(request.id, "as agreed")
            print(f"grace: {decided.approval.status}")
            print(f"the run is {flow.resume(result.run_id).status}: {flow.get('letter')}")


if __name__ == "__main__":
    main()
