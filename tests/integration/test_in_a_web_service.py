"""FlowStone inside a web service: opened when it starts, closed when it stops, called by many requests at once in between."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from flowstone import FlowStone, Keys, Pipeline, asset
from flowstone.testing import isolated_settings

REQUESTS = 8


@asset(partitions=Keys(int))
def doubled(ctx):
    print(f"doubling {ctx.partition}")
    return ctx.partition * 2


@asset(partitions=Keys(int))
async def waited(ctx, doubled):
    await asyncio.sleep(0.01)
    return doubled + 1


@asset(partitions=Keys(int))
def broken(ctx):
    raise ValueError(f"no {ctx.partition}")


SHOP = Pipeline("shop", [doubled, waited, broken])


def service(home) -> FastAPI:
    """A service with one FlowStone for its whole life, and endpoints of both kinds."""

    @asynccontextmanager
    async def life(app: FastAPI):
        settings = isolated_settings(home, project="service")
        with FlowStone(SHOP, settings=settings, echo=lambda text: None) as flow:
            app.state.flow = flow
            yield

    app = FastAPI(lifespan=life)

    @app.get("/sync/{key}")
    def sync(key: int) -> dict:
        result = app.state.flow.run("waited", partition=key)
        return {"status": result.status, "run": result.run_id, "value": app.state.flow.get("waited", partition=key)}

    @app.get("/async/{key}")
    async def asynchronous(key: int) -> dict:
        result = await app.state.flow.arun("waited", partition=key)
        return {"status": result.status, "run": result.run_id, "value": app.state.flow.get("waited", partition=key)}

    @app.get("/in-the-loop/{key}")
    async def in_the_loop(key: int) -> dict:
        return {"status": app.state.flow.run("waited", partition=key).status}

    @app.get("/broken/{key}")
    async def failing(key: int) -> dict:
        result = await app.state.flow.arun("broken", partition=key)
        return {"status": result.status, "message": result.failed[0].message}

    return app


@pytest.fixture
def state():
    """The streams, handlers and threads before the service; they are the same after it."""
    root = logging.getLogger()
    before = (sys.stdout, sys.stderr, list(root.handlers), root.level, logging.getLogger("flowstone.asset").level)
    threads = set(threading.enumerate())
    yield
    assert (sys.stdout, sys.stderr, list(root.handlers), root.level, logging.getLogger("flowstone.asset").level) == before
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("flowstone"):
            thread.join(30)
            assert not thread.is_alive(), thread.name


def serve(home, work):
    """Start the service, give *work* a function that asks it and its FlowStone, stop the service, and return what *work* did."""

    async def main():
        app = service(home)
        async with app.router.lifespan_context(app), client_of(app) as client:

            async def ask(path: str):
                answer = await client.get(path)
                return answer.raise_for_status().json()

            return await work(ask, app.state.flow)

    return asyncio.run(main())


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=120)


def test_requests_of_both_kinds_run_at_once(tmp_path, state):
    """Sixteen requests at once, to plain and to async endpoints, each have a run of their own, their value and their lines."""
    paths = [f"/{kind}/{key}" for key in range(REQUESTS) for kind in ("sync", "async")]

    async def work(ask, flow):
        answers = await asyncio.gather(*map(ask, paths))
        said = [(line.partition, line.message) for answer in answers for line in flow.logs(answer["run"])]
        return answers, sorted(said), [finding for finding in flow.doctor() if finding.level in ("fail", "warn")]

    answers, said, findings = serve(tmp_path, work)

    assert {answer["status"] for answer in answers} == {"success"}
    assert [answer["value"] for answer in answers] == [int(path.rpartition("/")[2]) * 2 + 1 for path in paths]
    assert len({answer["run"] for answer in answers}) == 2 * REQUESTS
    assert said == [(f"i:{key}", f"doubling {key}") for key in range(REQUESTS)], "each was computed once, whoever asked"
    assert findings == []


def test_a_failure_is_an_answer_and_a_plain_run_in_the_loop_works(tmp_path, state):
    """A failed run is told in the result, and ``run`` in an async endpoint does its work though it holds the loop up."""

    async def work(ask, flow):
        return [await ask("/broken/3"), await ask("/in-the-loop/3"), (await ask("/sync/3"))["value"]]

    assert serve(tmp_path, work) == [{"status": "failed", "message": "no 3"}, {"status": "success"}, 7]


def test_the_loop_goes_on_while_a_run_is_awaited(tmp_path, state):
    """While ``arun`` is awaited the loop serves others: a run that waits for another request's answer can end."""
    met = threading.Event()

    @asset
    def patient():
        return met.wait(60)

    async def work() -> tuple[bool, str, bool]:
        settings = isolated_settings(tmp_path, project="service")
        with FlowStone(Pipeline("p", [patient]), settings=settings, echo=lambda text: None) as flow:
            app = FastAPI()

            @app.get("/meet")
            async def meet() -> str:
                met.set()
                return "met"

            running = asyncio.create_task(flow.arun())
            async with client_of(app) as client:
                answer = await client.get("/meet")
            return (await running).ok, answer.json(), flow.get("patient")

    assert asyncio.run(work()) == (True, "met", True)


def test_a_service_that_starts_again_finds_its_records(tmp_path, state):
    """After a stop and a start of the service what was computed is reused."""

    async def first(ask, flow):
        return (await ask("/async/1"))["run"]

    async def second(ask, flow):
        answer = await ask("/sync/1")
        return [run.id for run in flow.runs()][1:], [row.status for row in flow.show(answer["run"]).materializations]

    run = serve(tmp_path, first)

    assert serve(tmp_path, second) == ([run], ["reused", "reused"])


def test_services_with_stores_of_their_own_keep_apart(tmp_path, state):
    """Two services in one process, at work at the same time, have each their own records and lines."""

    async def work(ask, flow):
        await asyncio.gather(*(ask(f"/async/{key}") for key in range(4)))
        return sorted(line.message for run in flow.runs() for line in flow.logs(run.id)), len(flow.runs())

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda name: serve(tmp_path / name, work), ("one", "two")))

    assert found == [([f"doubling {key}" for key in range(4)], 4)] * 2
