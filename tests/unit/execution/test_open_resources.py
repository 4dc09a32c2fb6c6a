"""Open resources: opened once and late, shared, checked, closed in reverse order, whatever they raise."""

from __future__ import annotations

import contextlib
import threading

import pytest

from flowstone.assets import resource
from flowstone.events.dispatcher import Dispatcher
from flowstone.execution.resources import OpenResources
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import GiveUp, ResourceError, RetryLater, SettingsError, UsageError


class House:
    """Resources that write down what happens to them, and what was emitted of them."""

    def __init__(self, *declared, **options):
        self.events = []
        dispatcher = Dispatcher(SystemClock())
        dispatcher.attach("test", "flowstone.resource.*", self.events.append)
        self.open = OpenResources({one.name: one for one in declared}, dispatcher, **options)

    def take(self, *names, run="run_1"):
        """The values of these resources, held for a moment."""
        with self.open.hold(names, run) as values:
            return list(values.values())

    def told(self):
        """What was emitted, in short."""
        return [
            (type(one).__name__, one.resource, getattr(one, "because", getattr(one, "during", getattr(one, "scope", ""))))
            for one in self.events
        ]


@pytest.fixture
def happened():
    """What resources made by ``tracked`` did, in order."""
    return []


@pytest.fixture
def tracked(happened):
    """A function that declares a resource whose value is a new list ``[name, number of the opening]``."""

    def make(name, *needs, **options):
        count = iter(range(1, 100))

        def body(**given):
            number = next(count)
            happened.append(f"open {name} {number}")
            yield [name, number, *given.values()]
            happened.append(f"close {name} {number}")

        source = f"def {name}({', '.join(needs)}): yield from body({', '.join(f'{need}={need}' for need in needs)})"
        names = {"body": body}
        exec(source, names)
        return resource(**options)(names[name])

    return make


def test_nothing_is_opened_before_it_is_needed_nor_twice(tracked, happened):
    """A resource opens with its first user, is the same value for the next ones, in every run, and closes at the end."""
    house = House(tracked("db"), tracked("other"))
    assert happened == []
    (first,), (second,) = house.take("db"), house.take("db", run="run_2")
    assert first is second
    house.open.end_run("run_1")
    assert happened == ["open db 1"]
    house.open.close()
    house.open.close()
    assert happened == ["open db 1", "close db 1"]
    assert house.told() == [("ResourceOpened", "db", "process"), ("ResourceClosed", "db", "closed")]


def test_a_resource_of_a_run_ends_with_it(tracked, happened):
    """Each run has its own value, closed when that run ends and not with another."""
    house = House(tracked("session", scope="run"))
    assert house.take("session") == house.take("session") == [["session", 1]]
    assert house.take("session", run="run_2") == [["session", 2]]
    house.open.end_run("run_1")
    assert happened == ["open session 1", "open session 2", "close session 1"]
    assert house.told()[-1] == ("ResourceClosed", "session", "run ended")
    house.open.close()
    assert happened[-1] == "close session 2"


def test_what_is_needed_is_opened_before_and_closed_after(tracked, happened):
    """Resources of resources open first, by their names; everything closes in reverse order of opening."""
    house = House(tracked("a"), tracked("b", "a"), tracked("c", "b", "a", scope="run"), tracked("d"))
    ((name, number, b, a),) = house.take("c")
    assert (name, number, a, b[2]) == ("c", 1, ["a", 1], a)
    house.take("d")
    house.open.close()
    assert happened == ["open a 1", "open b 1", "open c 1", "open d 1", "close d 1", "close c 1", "close b 1", "close a 1"]


def test_values_are_closed_by_their_own_kind(happened):
    """A context manager of contextlib is entered and left; other objects are handed out as they are, locks unlocked."""

    @resource
    @contextlib.contextmanager
    def managed():
        happened.append("enter")
        yield "inside"
        happened.append("leave")

    @resource
    def closing():
        thing = contextlib.ExitStack()
        thing.callback(happened.append, "closed")
        return contextlib.closing(thing)

    @resource
    def lock():
        return threading.Lock()

    house = House(managed, closing, lock)
    inside, stack, held = house.take("managed", "closing", "lock")
    assert (inside, isinstance(stack, contextlib.ExitStack), held.locked()) == ("inside", True, False)
    house.open.close()
    assert happened == ["enter", "closed", "leave"]


@pytest.mark.parametrize("answer", [False, 0, RuntimeError("gone away")], ids=str)
def test_an_unhealthy_value_is_opened_again(tracked, happened, answer):
    """A check that answers no, or raises, closes the value and opens another once; what was healthy stays."""
    answers = iter([True, None, answer, True])

    def check(value):
        found = next(answers)
        happened.append(f"check {value[1]}")
        if isinstance(found, Exception):
            raise found
        return found

    house = House(tracked("db", health=check))
    assert [house.take("db")[0][1] for _ in range(5)] == [1, 1, 1, 2, 2]
    assert happened == ["open db 1", "check 1", "check 1", "check 1", "close db 1", "open db 2", "check 2"]
    assert ("ResourceClosed", "db", "unhealthy") in house.told()


def test_what_was_opened_with_an_unhealthy_value_is_opened_again(tracked, happened):
    """A value that is replaced takes along those that hold it, and is closed after them."""
    healthy = [True]
    house = House(tracked("db", health=lambda value: healthy[0]), tracked("pool", "db"))
    house.take("pool")
    healthy[0] = False
    ((_, number, db),) = house.take("pool")
    assert (number, db) == (2, ["db", 2])
    assert happened == ["open db 1", "open pool 1", "open db 2", "close pool 1", "close db 1", "open pool 2"]


def test_an_unhealthy_value_stays_open_for_those_who_hold_it(tracked, happened):
    """A value is not closed under somebody's hands: the next one gets a new value, and the last holder closes the old one."""
    house = House(tracked("db", health=lambda value: False))
    with house.open.hold(["db"], "run_1") as old:
        with house.open.hold(["db"], "run_1") as new:
            assert (old["db"][1], new["db"][1]) == (1, 2)
        assert happened == ["open db 1", "open db 2"]
    assert happened == ["open db 1", "open db 2", "close db 1"]
    house.open.close()
    assert happened[3:] == ["close db 2"]


def test_a_failure_to_open_names_the_resource_and_is_not_remembered(happened):
    """An error while opening is a ``ResourceError`` with its cause; the next one who needs the resource tries again."""
    outcomes = iter([ConnectionError("no route to host"), SystemExit(3), None])

    @resource
    def db():
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        yield "there"

    house = House(db)
    with pytest.raises(ResourceError, match="resource 'db' could not be opened: ConnectionError: no route to host") as caught:
        house.take("db")
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert caught.value.retryable
    with pytest.raises(ResourceError, match=r"SystemExit: 3"):
        house.take("db")
    assert house.take("db") == ["there"]
    assert house.told()[:2] == [("ResourceFailed", "db", "open")] * 2


def test_a_failure_lets_go_of_what_was_opened_for_it(tracked, happened):
    """When a resource fails to open, those it needs stay open for others and close as usual."""

    @resource
    def broken(db):
        raise KeyError(db[0])

    house = House(tracked("db"), broken)
    for _ in range(2):
        with pytest.raises(ResourceError):
            house.take("broken")
    house.open.close()
    assert happened == ["open db 1", "close db 1"]


def test_a_generator_that_yields_nothing_is_a_failure_to_open():
    """A generator function must yield the value; one that does not is told so."""

    @resource
    def empty():
        yield from ()

    with pytest.raises(ResourceError, match="didn't yield"):
        House(empty).take("empty")


@pytest.mark.parametrize("request_of", [RetryLater(5), GiveUp("never")], ids=repr)
def test_requests_pass_as_they_are(request_of):
    """A resource may ask to come back later, or to give up, as an asset may."""

    @resource
    def db():
        raise request_of

    with pytest.raises(type(request_of)):
        House(db).take("db")


def test_a_close_that_raises_hides_no_other(tracked, happened):
    """An error while closing is told as an event; what is left is closed all the same."""

    @resource
    def sticky(db):
        yield db
        raise OSError("will not close")

    house = House(tracked("db"), sticky)
    house.take("sticky")
    house.open.close()
    assert happened == ["open db 1", "close db 1"]
    assert ("ResourceFailed", "sticky", "close") in house.told()
    assert [one.message for one in house.events if hasattr(one, "message")] == ["will not close"]


def test_an_interrupt_while_closing_leaves_nothing_open(tracked, happened):
    """Ctrl-C in the middle of closing is raised once everything is closed."""

    @resource
    def slow(db):
        yield db
        raise KeyboardInterrupt

    house = House(tracked("db"), slow)
    house.take("slow")
    with pytest.raises(KeyboardInterrupt):
        house.open.close()
    assert happened == ["open db 1", "close db 1"]


def test_config_comes_from_the_deployment_and_secrets_late():
    """A resource gets the deployment's values before its defaults, and secrets resolved when it opens; a missing one is told."""
    secrets = {"TOKEN": "correct-horse"}

    def resolve(name):
        if name not in secrets:
            raise SettingsError(f"the secret named {name} is not there", hint=f"set {name}")
        return secrets[name]

    @resource(config={"dsn": "local", "token": "secret:TOKEN", "size": 3})
    def db(config):
        return dict(config)

    house = House(db, config={"dsn": "remote", "another": 1}, resolve_secret=resolve)
    assert house.take("db") == [{"dsn": "remote", "token": "correct-horse", "size": 3}]
    secrets.clear()
    with pytest.raises(ResourceError, match="the secret named TOKEN is not there") as caught:
        House(db, resolve_secret=resolve).take("db")
    assert (caught.value.hint, caught.value.retryable) == ("set TOKEN", False)


def test_overrides_are_handed_out_and_left_alone(tracked, happened):
    """A given value stands for its resource, also for those that need it; it is not opened, checked or closed."""
    house = House(tracked("db", health=lambda value: False), tracked("pool", "db"), overrides={"db": "fake"})
    assert house.take("db", "pool") == ["fake", ["pool", 1, "fake"]]
    assert house.take("db") == ["fake"]
    house.open.close()
    assert happened == ["open pool 1", "close pool 1"]


def test_overrides_must_be_of_resources(tracked):
    """A value for a name that is no resource, and a declaration as a value, are refused with what to write."""
    with pytest.raises(UsageError, match="no such resource") as caught:
        House(tracked("warehouse"), overrides={"warehose": 1})
    assert caught.value.hint == "did you mean 'warehouse'?"
    with pytest.raises(UsageError, match="is a declaration"):
        House(tracked("db"), overrides={"db": tracked("fake")})


def test_many_threads_open_one_value():
    """Threads that need a resource at the same time wait for one opening and share its value; other resources go on meanwhile."""
    opened, begun, go = [], threading.Event(), threading.Event()

    @resource
    def slow():
        begun.set()
        assert go.wait(10)
        opened.append(1)
        return object()

    house = House(slow, resource(name="quick")(lambda: "quick"))
    values = []
    threads = [threading.Thread(target=lambda: values.extend(house.take("slow"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    assert house.take("quick") == ["quick"]
    go.set()
    for thread in threads:
        thread.join(10)
    assert (len(opened), len(values), len(set(map(id, values)))) == (1, 8, 1)
