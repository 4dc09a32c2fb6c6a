"""Steps that run side by side, one that hangs, and one that takes its process with it."""

import os
import tempfile
import threading
import time
from pathlib import Path

from flowstone import FlowStone, Pipeline, asset


@asset
def pages() -> list[str]:
    return ["one", "two", "three"]


meeting = threading.Barrier(2, timeout=30)  # lets nobody pass alone


@asset
def counted(pages: list[str]) -> int:
    meeting.wait()
    return len(pages)


@asset
def joined(pages: list[str]) -> str:
    meeting.wait()
    return " ".join(pages)


@asset(timeout=0.3)
def hangs() -> None:
    while True:
        time.sleep(1)


@asset(executor="process")
def crashes_once() -> str:
    mark = Path(os.environ["EXAMPLE_FOLDER"]) / "crashed"
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return "second child, second chance"


pipeline = Pipeline("executors", [pages, counted, joined, hangs, crashes_once])

if __name__ == "__main__":  # children import this file: it must not run again there
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EXAMPLE_FOLDER"] = folder
        with FlowStone(pipeline, home=folder) as flow:
            together = flow.run(["counted", "joined"], executor="thread")
            print("threads:", together.status, [step.asset for step in together.materialized])
            flow.run(["hangs", "crashes_once"])
            print("crashes_once:", flow.get("crashes_once"))
            for error in flow.errors():
                print(f"{error.asset}, attempt {error.attempt}: {error.type}{', cured' if error.cured else ''}")
