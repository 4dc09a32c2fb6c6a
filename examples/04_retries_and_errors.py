"""Attempts that fail: tried again, postponed, given up, and what that means for the assets behind them."""

from flowstone import FlowStone, GiveUp, Pipeline, Retry, RetryLater, asset

asked = []


@asset(retries=Retry(attempts=3, delay=0.05, on=(TimeoutError,)))
def stock(ctx) -> int:
    """Fails once and is tried again."""
    if ctx.attempt == 1:
        raise TimeoutError("the warehouse did not answer")
    return 12


@asset
def delivery() -> str:
    """Is not there yet: RetryLater waits and spends no attempt."""
    asked.append("delivery")
    if len(asked) < 3:
        raise RetryLater(0.05, "the lorry is on its way")
    return "unloaded"


@asset(retries=5)
def contract() -> str:
    """Cannot be cured by trying again: GiveUp fails now, whatever attempts are left."""
    raise GiveUp("the supplier is gone; password=s3cret-word")


@asset
def invoice(contract) -> str:
    """Needs the contract, so it is skipped."""
    return f"under {contract}"


@asset
def overview(stock, delivery, contract=None) -> dict:
    """A parameter with a default is an optional dependency: it gets the default."""
    return {"stock": stock, "delivery": delivery, "contract": contract}


pipeline = Pipeline("warehouse", [stock, delivery, contract, invoice, overview])

if __name__ == "__main__":
    with FlowStone(pipeline, home=":memory:") as flow:
        result = flow.run()
        print("run:     ", result.status)
        print("failed:  ", [(step.asset, step.reason, step.message) for step in result.failed])
        print("skipped: ", [(step.asset, step.reason, step.message) for step in result.skipped])
        print("overview:", flow.get("overview"))
        for error in reversed(flow.errors()):
            cured = f"cured by attempt {error.cured}" if error.cured else "not cured"
            print(f"error:    {error.asset} attempt {error.attempt}: {error.type}: {error.message} ({cured})")
