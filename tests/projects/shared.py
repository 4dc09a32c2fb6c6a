"""A pipeline that several processes work on at the same moment."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from shaken import note, place_of, step

from flowstone import Pipeline


def wait_for(name: str) -> None:
    """Note that somebody waits for the file *name*, beside the notes, and wait until it is there."""
    Path(f"{os.environ['SHAKEN_NOTES']}.{name}.waiting").touch()
    while not Path(f"{os.environ['SHAKEN_NOTES']}.{name}").exists():
        time.sleep(0.002)


@step
def before(ctx) -> int:
    return 1


@step
def held(ctx, before: int) -> list[int]:
    """The first attempt takes until it is let go."""
    if ctx.attempt == 1:
        wait_for("go_on")
    return [before, ctx.attempt]


@step
def after(ctx, held: list[int]) -> int:
    return held[1]


@step
def base(ctx) -> int:
    note("made", *place_of(ctx))
    return 1


@step
def derived(ctx, base: int) -> int:
    return base + 1


@step
def spinning(ctx) -> int:
    """The first attempt starts a program, then never lets go of the interpreter."""
    if ctx.attempt == 1:
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        note("spins", os.getpid(), program.pid)
        sum(itertools.repeat(0))
    return ctx.attempt


pipeline = Pipeline("shared", [before, held, after, base, derived, spinning])
