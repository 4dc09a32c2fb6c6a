"""Random histories against a model of ten lines: what is kept, what is gone, and that kept bytes can be read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone import FlowStone, Pipeline, asset
from flowstone.foundation.errors import HeldError, MissingOutputError
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.testing import MovableClock, isolated_settings

ASSETS = ("a", "b")
STEPS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from(ASSETS), st.integers(0, 2)),
    st.tuples(st.just("hold"), st.sampled_from(ASSETS), st.integers(0, 5)),
    st.tuples(st.just("release"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("erase"), st.sampled_from(ASSETS), st.integers(0, 5)),
    st.tuples(st.just("invalidate"), st.sampled_from(ASSETS), st.just(0)),
    st.tuples(st.just("prune"), st.just(""), st.just(0)),
)


class Model:
    """What must be there: for each asset its versions, as [value, gone, held], and which one is current."""

    def __init__(self, keep):
        self.keep, self.versions, self.current = keep, {name: [] for name in ASSETS}, dict.fromkeys(ASSETS)

    def make(self, name, value):
        self.versions[name].append([value, "", 0])
        self.current[name] = len(self.versions[name]) - 1
        self.collect(name)

    def collect(self, name):
        made = self.versions[name]
        for number, version in enumerate(made):
            superseded = self.keep is not None and number < len(made) - self.keep
            if superseded and number != self.current[name] and not version[1] and not version[2]:
                version[1] = "collected"

    def erase(self, name, number):
        """Erase the version and those with its bytes; ``False`` when one of them is held."""
        made = self.versions[name]
        same = [v for v in made if not v[1] and v[0] == made[number][0]]
        if any(v[2] for v in same):
            return False
        for version in same:
            version[1] = "erased"
        if self.current[name] is not None and made[self.current[name]][1]:
            self.current[name] = None
        return True


class Real:
    """The same steps, done by FlowStone."""

    def __init__(self, home, keep):
        self.value, self.holds = 0, []
        kept = dataclasses.replace(isolated_settings(home), retention=RetentionSettings(outputs=keep))
        pipeline = Pipeline("p", [asset(name=name, source=True)(lambda: [self.value]) for name in ASSETS])
        self.flow = FlowStone(pipeline, settings=kept, clock=MovableClock(datetime.now(UTC)))
        self.home, self.runs = home, {name: [] for name in ASSETS}

    def version(self, name, number):
        return next(v.output for v in self.flow.outputs(name, which="all") if v.output.version == number + 1)

    def make(self, name, value):
        self.value = value
        self.runs[name].append(self.flow.run(name).run_id)

    def read(self, name, number):
        return self.flow.get(name, run_id=self.runs[name][number])

    def facts(self):
        found = {name: {} for name in ASSETS}
        for version in self.flow.outputs(which="all"):
            found[version.output.asset][version.output.version - 1] = (version.output.gone, version.hold is not None)
        return found


def step(model, real, kind, name, number):
    """Do one step in both worlds."""
    if kind == "run":
        model.make(name, number)
        real.make(name, number)
    elif kind == "prune":
        for asset_ in ASSETS:
            model.collect(asset_)
        real.flow.prune()
    elif kind == "invalidate":
        if model.current[name] is not None:
            model.current[name] = None
            assert real.flow.invalidate(name)
    elif kind == "release":
        if real.holds:
            held, hold = real.holds.pop(number % len(real.holds))
            held[2] -= 1
            real.flow.release(hold.id, reason="x")
    elif model.versions[name]:
        number %= len(model.versions[name])
        on_version(model, real, kind, name, number)


def on_version(model, real, kind, name, number):
    version, output = model.versions[name][number], real.version(name, number)
    if kind == "hold" and version[1]:
        with pytest.raises(MissingOutputError):
            real.flow.hold(output=output.id, reason="x")
    elif kind == "hold":
        version[2] += 1
        real.holds.append((version, real.flow.hold(output=output.id, reason="x")))
    elif model.erase(name, number):
        real.flow.erase(name, output=output.id, reason="x")
    else:
        with pytest.raises(HeldError):
            real.flow.erase(name, output=output.id, reason="x")


@settings(max_examples=max(25, settings.default.max_examples // 4))  # one example is a whole project
@given(st.sampled_from([1, 2, 3, None]), st.lists(STEPS, min_size=3, max_size=12))
def test_what_is_kept_equals_the_model(keep, steps):
    """After each step of a random history, versions, holds and files are those of the model; what is kept can be read."""
    with TemporaryDirectory() as folder:
        model, real = Model(keep), Real(folder, keep)
        with real.flow:
            for kind, name, number in [("run", "a", 0), *steps]:
                step(model, real, kind, name, number)
                expected = {
                    name: {n: (gone, held > 0) for n, (_, gone, held) in enumerate(made)} for name, made in model.versions.items()
                }
                present = sum(not gone for made in expected.values() for gone, _ in made.values())
                assert real.facts() == expected
                assert len(list(real.flow.settings.outputs.path.rglob("*.json"))) == present
            for name, made in model.versions.items():
                for number, (value, gone, _) in enumerate(made):
                    if gone:
                        with pytest.raises(MissingOutputError, match=gone):
                            real.read(name, number)
                    else:
                        assert real.read(name, number) == [value]
            assert [f for f in real.flow.doctor() if f.level in ("fail", "warn")] == []
