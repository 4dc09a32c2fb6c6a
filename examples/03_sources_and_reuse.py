"""What is computed again and what is not: sources with a version, sources somebody else fills, and equal bytes."""

from flowstone import FlowStone, Pipeline, asset, source

shelf = {"price list": "2025-03", "prices": {"tea": 4.0, "cup": 9.5}, "rates": "week 10"}


@asset(source=True, version=lambda: shelf["price list"])
def prices() -> dict:
    """Reads the outside. The version is asked before every decision to reuse; the body runs only if it changed."""
    return dict(shelf["prices"])


rates = source("rates", version=lambda: shelf["rates"])  # never computed here: its value is its version


@asset
def cheapest(prices) -> str:
    """Depends on the prices alone."""
    return min(prices, key=prices.get)


@asset
def label(cheapest, rates) -> str:
    """Depends on what is cheapest, and on the observed rates."""
    return f"{cheapest} ({rates})"


pipeline = Pipeline("shop", [prices, rates, cheapest, label])


def tell(title: str, result) -> None:
    """Print what a run computed and what it took as it was."""
    computed = [step.asset for step in result.materialized]
    print(f"{title:22} computed {computed}, reused {[step.asset for step in result.reused]}")


if __name__ == "__main__":
    with FlowStone(pipeline, home=":memory:") as flow:
        tell("first run", flow.run())
        tell("nothing changed", flow.run())
        shelf.update({"price list": "2025-04", "prices": {"tea": 3.5, "cup": 9.0}})
        tell("other prices", flow.run())  # `cheapest` gives the same bytes again, so `label` is not outdated
        shelf["rates"] = "week 11"
        tell("other rates", flow.run())
        tell("by hand", flow.run("cheapest", force=True, deps=False))
        print(flow.get("label"))
