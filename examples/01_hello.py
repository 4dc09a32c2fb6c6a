"""Three assets: the parameters of a function name the assets it needs."""

from flowstone import FlowStone, Pipeline, asset


@asset
def orders() -> list:
    """What was sold."""
    return [{"item": "tea", "pieces": 2, "price": 4.0}, {"item": "cup", "pieces": 1, "price": 9.5}]


@asset
def total(orders) -> float:
    """What it is worth."""
    return sum(order["pieces"] * order["price"] for order in orders)


@asset
def report(ctx, orders, total) -> str:
    """One sentence for people."""
    ctx.summary(f"{len(orders)} orders")
    return f"{len(orders)} orders, {total:.2f} in all"


pipeline = Pipeline("shop", [orders, total, report])

if __name__ == "__main__":
    # home=":memory:" keeps nothing. Without it, everything is kept in .flowstone beside this file's project.
    with FlowStone(pipeline, home=":memory:") as flow:
        print(flow.graph())

        result = flow.run()
        print("first run: ", result.status, [step.asset for step in result.materialized])
        print("the value: ", flow.get("report"))

        again = flow.run()
        print("second run:", again.status, "reused", [step.asset for step in again.reused])
        print("because:   ", again.reused[0].message.partition(" since ")[0])
