"""A pipeline that fails in every way there is, each in an asset of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

from flowstone import Pipeline, Retry, RetryLater, asset, resource, source


@asset
def blob():
    return 1


@asset
def loads(blob):
    """Its input was damaged on disk."""
    return blob


@asset
def stores():
    """No format holds its value."""
    return [1, object()]


@asset
def raises():
    raise ValueError(f"process {os.getpid()} refuses row {time.time_ns()} of '{Path.cwd()}'")


@asset
def groups():
    try:
        {}["a"]
    except KeyError as error:
        raise ExceptionGroup("two at once", [error, OSError(2, "no such file")]) from None


def ping(depth):
    return pong(depth + 1)


def pong(depth):
    return ping(depth + 1)


@asset
def recurs():
    return ping(0)


@asset
def wraps():
    try:
        int("x")
    except ValueError:
        raise RuntimeError("the parse failed")  # noqa: B904 - as users write it


@asset(retries=Retry(attempts=3, delay=0))
def recovers(ctx):
    if ctx.attempt < 3:
        raise TimeoutError(f"no answer within {ctx.attempt} s")
    return 1


@asset(retries=Retry(later_limit=1))
def postpones():
    raise RetryLater(0.001, "not there yet")


@asset
def leaves():
    raise SystemExit(3)


def refuse():
    raise ConnectionError(f"no answer from process {os.getpid()}")


watched = source("watched", version=refuse)


@asset(source=True, version=refuse)
def asks():
    return 1


@asset(config={"login": "secret:FLOWSTONE_TEST_LOGIN"})
def needs_secret(config):
    return 1


@resource
def warehouse():
    raise ConnectionError("the warehouse is closed")


@asset
def needs_resource(warehouse):
    return 1


@asset(timeout=0.4)
def hangs():
    time.sleep(60)


@asset(executor="process")
def dies():
    os._exit(7)


pipeline = Pipeline(
    "failing",
    [
        blob, loads, stores, raises, groups, recurs, wraps, recovers, postpones, leaves, watched, asks, needs_secret,
        needs_resource, hangs, dies,
    ],
    resources=[warehouse],
)  # fmt: skip
