"""Events reach whoever listens, in order, redacted; and nothing that a handler does reaches the emitter."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone import Count, Event, Label, Text, event
from flowstone.events.catalogue import HandlerFailed
from flowstone.events.dispatcher import MAX_DEPTH, Dispatcher
from flowstone.foundation.errors import EventError, HandlerError
from flowstone.testing import MovableClock


@event("acme.order.placed")
class Placed(Event, frozen=True, kw_only=True):
    """An order came in."""

    number: Count
    note: Text = ""
    password: Text = ""
    region: Label = ""


@event("acme.order.paid")
class Paid(Event, frozen=True, kw_only=True):
    """An order was paid."""

    number: Count


class MuteError(Exception):
    """An error that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("no words")


def fail(error):
    def handler(happened):
        raise error

    return handler


def test_an_event_is_stamped_with_the_time_unless_it_has_one(dispatcher, clock):
    """``at`` is the clock's wall time in nanoseconds; a given one is kept."""
    clock.advance(5)

    assert dispatcher.build(Placed, {"number": 1}).at == clock.now_ns()
    assert dispatcher.build(Placed, {"number": 1, "at": 7}).at == 7


def test_texts_are_redacted_when_the_event_is_built(dispatcher):
    """A secret in a text is masked, a text field with a secret's name is masked whole, labels are left alone."""
    happened = dispatcher.build(Placed, {"number": 1, "note": "login with token=abc123", "password": "x", "region": "eu"})

    assert happened.note == "login with token=[redacted]"
    assert happened.password == "[redacted]"
    assert happened.region == "eu"


def test_wrong_fields_are_an_error_that_names_the_event(dispatcher):
    """A missing and an unknown field are each refused with the event's name and its fields."""
    for fields in ({}, {"number": 1, "numbr": 2}):
        with pytest.raises(EventError, match=r"acme\.order\.placed") as caught:
            dispatcher.build(Placed, fields)
        assert "number, note, password, region" in caught.value.hint


def test_an_undeclared_event_cannot_be_built(dispatcher):
    """A class without a declaration, and a subclass of a declared one, would not be redacted, so they are refused."""

    class Undeclared(Event, frozen=True, kw_only=True):
        secret: Text

    class Special(Placed, frozen=True, kw_only=True):
        secret: Text

    for cls, fields in ((Undeclared, {"secret": "x"}), (Special, {"secret": "x", "number": 1})):
        with pytest.raises(EventError, match=f"{cls.__name__} is not declared"):
            dispatcher.build(cls, fields)


def test_nothing_is_built_when_nobody_listens(dispatcher, monkeypatch):
    """Emitting what no handler hears builds no event; once one hears it, it is built again."""
    built = []
    monkeypatch.setattr(dispatcher, "build", lambda cls, fields: built.append(cls) or cls(at=0, **fields))
    dispatcher.attach("other", Paid, lambda happened: None)

    dispatcher.emit(Placed, number=1)
    assert built == []

    dispatcher.attach("mine", Placed, lambda happened: None)
    dispatcher.emit(Placed, number=1)
    assert built == [Placed]


def test_patterns_choose_events(dispatcher):
    """A handler hears the classes, names and prefixes it was attached to, each event once."""
    heard = {}
    patterns = {
        "class": Placed,
        "name": "acme.order.paid",
        "prefix": "acme.*",
        "all": "*",
        "both": [Placed, "acme.order.*"],
        "none": "acme",
    }
    for id, pattern in patterns.items():
        heard[id] = []
        dispatcher.attach(id, pattern, heard[id].append)

    dispatcher.emit(Placed, number=1)
    dispatcher.deliver(Paid(at=0, number=2))

    numbers = {id: [happened.number for happened in events] for id, events in heard.items()}
    assert numbers == {"class": [1], "name": [2], "prefix": [1, 2], "all": [1, 2], "both": [1, 2], "none": []}


def test_handlers_are_called_in_order_of_attachment(dispatcher):
    """Handlers of one event run in the order they were attached, whatever they were attached to."""
    calls = []
    for id, pattern in (("c", "*"), ("a", Placed), ("b", "acme.*")):
        dispatcher.attach(id, pattern, lambda happened, id=id: calls.append(id))

    dispatcher.emit(Placed, number=1)

    assert calls == ["c", "a", "b"]


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), SystemExit(3), GeneratorExit(), MemoryError(), MuteError()],
    ids=lambda error: type(error).__name__,
)
def test_a_raising_handler_is_isolated(dispatcher, error):
    """Whatever a handler raises, the emitter goes on, the others are called, and the failure is counted and told."""
    before, after, failures = [], [], []
    dispatcher.attach("before", Placed, before.append)
    dispatcher.attach("bad", Placed, fail(error))
    dispatcher.attach("after", Placed, after.append)
    dispatcher.attach("failures", HandlerFailed, failures.append)

    dispatcher.emit(Placed, number=1)

    assert [len(before), len(after)] == [1, 1]
    info = {handler.id: handler for handler in dispatcher.list_handlers()}
    assert (info["bad"].calls, info["bad"].failures, info["bad"].quarantined) == (1, 1, True)
    assert (info["after"].failures, info["after"].quarantined) == (0, False)
    assert [(happened.handler, happened.event, happened.kind, happened.type) for happened in failures] == [
        ("bad", "acme.order.placed", "error", type(error).__name__)
    ]
    assert ("__str__" in failures[0].message) == isinstance(error, MuteError)


def test_an_interrupt_passes(dispatcher):
    """Ctrl-C while a handler runs reaches the emitter, and counts as no failure."""
    dispatcher.attach("slow", Placed, fail(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        dispatcher.emit(Placed, number=1)
    assert dispatcher.list_handlers()[0].failures == 0


def test_the_failure_of_a_failures_handler_ends_there(dispatcher):
    """A handler that fails on the news of failures is counted and quarantined, and makes no news itself."""
    dispatcher.attach("bad", Placed, fail(ValueError()))
    dispatcher.attach("worse", HandlerFailed, fail(ValueError()))
    news = []
    dispatcher.attach("news", HandlerFailed, news.append)

    dispatcher.emit(Placed, number=1)

    worse = next(handler for handler in dispatcher.list_handlers() if handler.id == "worse")
    assert (worse.calls, worse.failures, worse.quarantined) == (1, 1, True)
    assert [happened.handler for happened in news] == ["bad"]
    assert dispatcher.too_deep == 0


def test_recursion_is_bounded(dispatcher):
    """A handler that emits what it hears is cut off after a fixed depth, counted, and the dispatcher works on."""
    heard = []

    def echo(happened):
        heard.append(happened.number)
        dispatcher.emit(Placed, number=happened.number + 1)

    dispatcher.attach("echo", Placed, echo)
    dispatcher.emit(Placed, number=0)
    assert heard == list(range(MAX_DEPTH))
    assert dispatcher.too_deep == 1

    dispatcher.emit(Placed, number=100)
    assert heard[MAX_DEPTH] == 100


def test_an_id_is_used_once(dispatcher):
    """A second handler of the same id is refused, until the first is detached."""
    dispatcher.attach("mine", "*", print)
    with pytest.raises(HandlerError, match="'mine' is already attached"):
        dispatcher.attach("mine", "*", print)

    dispatcher.detach("mine")
    dispatcher.attach("mine", "*", print)


def test_wrong_handlers_are_refused(dispatcher):
    """No events, an event that is none, a handler that cannot be called and a queue of nothing are each refused."""
    for events, handler, more in (
        ([], print, {}),
        (int, print, {}),
        ([Event], print, {}),
        ("*", 3, {}),
        ("*", print, {"capacity": 0}),
    ):
        with pytest.raises(HandlerError):
            dispatcher.attach("mine", events, handler, **more)
    assert dispatcher.list_handlers() == []


def test_a_detached_handler_hears_nothing(dispatcher):
    """After ``detach`` the handler is not called; detaching what is not attached is refused with what is."""
    heard = []
    dispatcher.attach("mine", "*", heard.append)
    dispatcher.attach("other", "*", lambda happened: None)
    dispatcher.emit(Placed, number=1)
    dispatcher.detach("mine")
    dispatcher.emit(Placed, number=2)

    assert [happened.number for happened in heard] == [1]
    with pytest.raises(HandlerError, match="'mine' is not attached") as caught:
        dispatcher.detach("mine")
    assert "other" in caught.value.hint


def test_handlers_are_listed_by_prefix(dispatcher):
    """A prefix lists the handlers that listen to any event below it, wildcards counted, with their patterns."""
    patterns = {"all": ["*"], "placed": [Placed], "orders": ["acme.order.*"], "runs": ["flowstone.run.*", Paid]}
    for id, events in patterns.items():
        dispatcher.attach(id, events, print)

    def listed(prefix):
        return [handler.id for handler in dispatcher.list_handlers(prefix)]

    assert listed("") == ["all", "placed", "orders", "runs"]
    assert listed("acme.order.placed") == ["all", "placed", "orders"]
    assert listed("acme.") == ["all", "placed", "orders", "runs"]
    assert listed("flowstone.run.stop") == ["all", "runs"]
    assert dispatcher.list_handlers("acme.order.paid")[-1].events == ("flowstone.run.*", "acme.order.paid")


def test_attaching_and_detaching_while_events_are_emitted_loses_nothing(dispatcher):
    """A handler that stays gets every event while others come and go in another thread."""
    heard, stop = [], threading.Event()
    dispatcher.attach("stays", Placed, heard.append)

    def come_and_go():
        while not stop.is_set():
            dispatcher.attach("comes", "*", lambda happened: None)
            dispatcher.detach("comes")

    other = threading.Thread(target=come_and_go)
    other.start()
    for number in range(2_000):
        dispatcher.emit(Placed, number=number)
    stop.set()
    other.join(5)

    assert [happened.number for happened in heard] == list(range(2_000))


@given(st.lists(st.booleans(), max_size=6), st.lists(st.integers(0, 1_000), max_size=20))
def test_any_set_of_handlers_gets_every_event_in_order(failing, numbers):
    """Handlers that do not fail get all events in order of emission, whichever of the others fail."""
    heard = {index: [] for index in range(len(failing))}
    dispatcher = Dispatcher(MovableClock())
    for index, fails in enumerate(failing):
        dispatcher.attach(str(index), "acme.*", fail(ValueError()) if fails else heard[index].append)

    for number in numbers:
        dispatcher.emit(Placed, number=number)

    assert all([happened.number for happened in heard[i]] == numbers for i, fails in enumerate(failing) if not fails)
    for info, fails in zip(dispatcher.list_handlers(), failing, strict=True):
        assert info.calls + info.skipped == len(numbers)
        assert info.failures == (min(1, len(numbers)) if fails else 0)
