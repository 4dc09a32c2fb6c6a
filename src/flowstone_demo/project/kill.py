"""A run to be killed in: two quick steps, one that takes its time, and two that wait for it.

`flowstone demo --kill` kills the process in `invoices`. Do it by hand: `flowstone run --force` in one terminal, `kill -9` with
the number of its process in another, then `flowstone doctor`, and do what it says.
"""

import time

from flowstone import Pipeline, asset


@asset
def customers(ctx) -> list:
    """Who buys here."""
    ctx.summary("3 customers")
    return ["Ada", "Grace", "Edsger"]


@asset
def orders(ctx, customers) -> list:
    """What they bought: who, and for how much."""
    made = [{"customer": customer, "amount": 10 * number} for number, customer in enumerate(customers * 5, 1)]
    ctx.summary(f"{len(made)} orders")
    return made


@asset
def invoices(ctx, orders) -> list:
    """One for each order; the two seconds this takes are what the run is killed in."""
    made = []
    for order in ctx.track(orders, unit="invoices"):
        time.sleep(2 / len(orders))
        made.append({**order, "text": f"Please pay {order['amount']}."})
    ctx.summary(f"{len(made)} invoices")
    return made


@asset
def turnover(ctx, invoices) -> int:
    """What will come in."""
    total = sum(invoice["amount"] for invoice in invoices)
    ctx.summary(f"{total:,}")
    return total


@asset
def letter(ctx, customers, turnover) -> str:
    """What the owner reads."""
    ctx.summary("1 letter")
    return f"{len(customers)} customers owe us {turnover}."


pipeline = Pipeline("shop", [customers, orders, invoices, turnover, letter])
