"""Something to tamper with: what `flowstone demo --tamper` runs, and changes in a copy behind FlowStone's back.

The letter waits for a reviewer; the demo decides as one.
"""

from flowstone import Approval, Pipeline, asset


@asset
def orders(ctx) -> list:
    """What was sold: to whom, and for how much."""
    made = [{"customer": customer, "amount": 40 * number} for number, customer in enumerate(["Ada", "Grace", "Edsger"], 1)]
    ctx.summary(f"{len(made)} orders")
    return made


@asset
def turnover(ctx, orders) -> int:
    """What came in."""
    total = sum(order["amount"] for order in orders)
    ctx.summary(f"{total:,}")
    return total


@asset(approval=Approval("May this letter go out?", approvers=["group:reviewers"], not_author=True))
def letter(ctx, orders, turnover) -> str:
    """What the owner reads."""
    ctx.summary("1 letter")
    return f"{len(orders)} customers paid us {turnover}."


pipeline = Pipeline("shop", [orders, turnover, letter])
