"""Resources: a connection that is opened once, checked before it is used again, and replaced by a fake in tests."""

from typing import Any

from flowstone import FlowStone, Pipeline, asset, resource
from flowstone.testing import isolated_flow


class Warehouse:
    """Stands for a database somewhere else."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self.alive = dsn, True
        print(f"connect to {dsn}")

    def close(self) -> None:
        print(f"disconnect from {self.dsn}")


@resource(config={"dsn": "warehouse.local"}, health=lambda connection: connection.alive, limit=4)
def warehouse(config: dict[str, str]) -> Any:
    """Opened by the first attempt that needs it, closed with FlowStone."""
    connection = Warehouse(config["dsn"])
    yield connection
    connection.close()


@resource(scope="run")
def session(warehouse: Warehouse) -> Any:
    """One for each run; opened after the warehouse, closed before it."""
    print("begin")
    yield f"session on {warehouse.dsn}"
    print("end")


@asset
def orders(warehouse: Warehouse) -> list[str]:
    warehouse.alive = False  # the connection breaks after this: the next one who needs it gets another
    return ["tea", "cup"]


@asset
def report(orders: list[str], session: str) -> str:
    return f"{len(orders)} orders, {session}"


pipeline = Pipeline("shop", [orders, report], resources=[warehouse, session])

if __name__ == "__main__":
    with FlowStone(pipeline, home=":memory:") as flow:
        flow.run().raise_if_failed()
        print(flow.get("report"))
    fake = Warehouse("nowhere")
    with isolated_flow(pipeline, resources={"warehouse": fake}) as flow:
        flow.run().raise_if_failed()
        print("in a test:", flow.get("report"))
