"""Where a value comes from, why it is what it is, and whether the records agree with the evidence."""

import tempfile
from pathlib import Path

from flowstone import FlowStone, Pipeline, asset

catalogue = {"version": "spring", "prices": [4.0, 9.5]}


@asset(source=True, version=lambda: catalogue["version"])
def prices() -> list:
    """What things cost."""
    return list(catalogue["prices"])


@asset
def average(prices) -> float:
    """The mean price."""
    return sum(prices) / len(prices)


@asset
def headline(average) -> str:
    """One line for the front page."""
    return f"things cost {average:.2f}"


pipeline = Pipeline("shop", [prices, average, headline])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, FlowStone(pipeline, home=Path(folder)) as flow:
        flow.run()
        catalogue.update(version="summer", prices=[5.0, 9.5])
        second = flow.run()

        names = {id: f"{output.asset} v{output.version}" for id, output in flow.lineage("headline").outputs.items()}
        for edge in flow.lineage("headline").edges:
            print(f"{names[edge.downstream]:12} <- {names[edge.upstream]}")

        explanation = flow.explain("average")
        print("state:  ", explanation.condition.state, f"(version {explanation.output.version} of {explanation.versions})")
        print("made by:", explanation.run.id == second.run_id, "attempt", explanation.attempts[0].number)
        print("changed:", [f"{change.what}: {change.text.split(' ')[0]}" for change in explanation.changes])

        flow.invalidate("prices")
        print("after invalidating prices:", [(c.asset, c.state) for c in flow.status()])

        findings = flow.doctor()
        print("doctor: ", sum(f.level == "ok" for f in findings), "ok,", sum(f.level == "fail" for f in findings), "failed")
