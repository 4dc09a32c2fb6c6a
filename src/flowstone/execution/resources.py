"""The open resources of one process: opened when first needed, shared, checked, closed in reverse order.

What opens and closes them is users' code. It runs inside an attempt wherever it can, so that what it prints and raises belongs
to that attempt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import GeneratorType
from typing import Any

from flowstone.assets.options import NOTHING
from flowstone.assets.resources import Resource
from flowstone.events.catalogue import ResourceClosed, ResourceFailed, ResourceOpened
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.spans import message_of
from flowstone.foundation.errors import FlowStoneError, GiveUp, ResourceError, RetryLater, UsageError, did_you_mean

_PROCESS = ""  # stands where a run's id does, for what is open until the process ends


class _Place:
    """Where one resource is open: in the process, or in one run. Its lock is held while users' code opens or checks it."""

    __slots__ = ("live", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.live: _Live | None = None


class _Live:
    """One open value and who uses it: attempts, and resources that were opened with it."""

    __slots__ = ("closed", "name", "needs", "number", "place", "retired", "run_id", "stack", "users", "value")

    def __init__(self, name: str, value: Any, place: _Place, run_id: str = _PROCESS) -> None:
        self.name, self.value, self.place, self.run_id = name, value, place, run_id
        self.stack = ExitStack()
        self.needs: list[_Live] = []
        self.number = self.users = 0
        self.retired = self.closed = False


class OpenResources:
    """Opens a pipeline's resources and hands them to attempts of any thread.

    *config* is the deployment's; *overrides* are values to hand out instead of opening the resource of that name, which FlowStone
    neither checks nor closes. Raises :class:`UsageError` for an override of no resource.
    """

    def __init__(
        self,
        declared: Mapping[str, Resource],
        dispatcher: Dispatcher,
        config: Mapping[str, Any] = NOTHING,
        resolve_secret: Callable[[str], str] = str,
        overrides: Mapping[str, Any] = NOTHING,
    ) -> None:
        self.declared = declared
        self._dispatcher, self._config, self._resolve_secret = dispatcher, config, resolve_secret
        self._given = {name: _Live(name, _override(name, value, declared), _Place()) for name, value in overrides.items()}
        self._places: dict[tuple[str, str], _Place] = {}
        self._lives: set[_Live] = set()
        self._count = 0
        self._lock = threading.Lock()  # of the fields above and of every value's users; never held while users' code runs

    @property
    def given(self) -> Collection[str]:
        """The resources that a value was given for; it exists in this process alone."""
        return self._given.keys()

    @contextmanager
    def hold(self, names: Iterable[str], run_id: str) -> Iterator[dict[str, Any]]:
        """Give the values of the resources *names*, open as long as they are held; raises :class:`ResourceError`.

        A value that is found unhealthy meanwhile is replaced for others and closed when nobody holds it any more.
        """
        held: list[_Live] = []
        try:
            for name in names:
                held.append(self._take(name, run_id))  # noqa: PERF401 - each is held before the next one may fail
            yield {live.name: live.value for live in held}
        finally:
            self._release(held)

    def end_run(self, run_id: str) -> None:
        """Close what was opened for the run, in reverse order of opening."""
        with self._lock:
            self._places = {key: place for key, place in self._places.items() if key[1] != run_id}
            lives = [live for live in self._lives if live.run_id == run_id]
        self._end(lives, "run ended")

    def close(self) -> None:
        """Close everything, in reverse order of opening."""
        with self._lock:
            lives = list(self._lives)
        self._end(lives, "closed")

    def _take(self, name: str, run_id: str) -> _Live:
        """Return the open value, opened or opened again if need be, and count one more user of it."""
        if name in self._given:
            return self._given[name]
        resource = self.declared[name]
        scope = run_id if resource.scope == "run" else _PROCESS
        with self._lock:
            place = self._places.setdefault((name, scope), _Place())
        with place.lock:
            needs: list[_Live] = []
            try:
                for needed in resource.needs.values():
                    needs.append(self._take(needed, run_id))  # noqa: PERF401 - each is held before the next one may fail
                live = place.live
                if live is not None and (live.needs != needs or not self._is_healthy(resource, live)):
                    self._retire(live)
                    live = None
                if live is None:
                    live = self._open(resource, place, scope, needs)
                    needs = []  # they are the value's now
                with self._lock:
                    live.users += 1
                return live
            finally:
                self._release(needs)

    def _open(self, resource: Resource, place: _Place, scope: str, needs: list[_Live]) -> _Live:
        started = self._dispatcher.monotonic_ns()
        live = _Live(resource.name, None, place, scope)
        try:
            live.value = _enter(resource, self._arguments(resource, needs), live.stack)
        except (RetryLater, GiveUp):
            raise
        except (Exception, SystemExit) as error:
            raise self._refused(resource, error) from error
        live.needs = needs
        with self._lock:
            self._count += 1
            live.number = self._count
            self._lives.add(live)
            place.live = live
        duration = self._dispatcher.monotonic_ns() - started
        self._dispatcher.emit(ResourceOpened, resource=resource.name, scope=resource.scope, duration_ns=duration)
        return live

    def _arguments(self, resource: Resource, needs: list[_Live]) -> dict[str, Any]:
        arguments = dict(zip(resource.needs, (live.value for live in needs), strict=True))
        if any(parameter.kind == "config" for parameter in resource.parameters):
            declared = {name: self._config.get(name, default) for name, default in resource.config.items()}
            arguments["config"] = {
                name: self._resolve_secret(value[7:]) if isinstance(value, str) and value.startswith("secret:") else value
                for name, value in declared.items()
            }
        return arguments

    def _refused(self, resource: Resource, error: BaseException) -> ResourceError:
        self._failed(resource.name, "open", error)
        refused = ResourceError(
            f"resource {resource.name!r} could not be opened: {type(error).__name__}: {message_of(error)}", resource=resource.name
        )
        if isinstance(error, FlowStoneError):
            refused.hint, refused.retryable = error.hint, error.retryable
        return refused

    def _is_healthy(self, resource: Resource, live: _Live) -> bool:
        """Ask the resource's health check; ``None`` is as good as ``True``, for checks that raise when all is not well."""
        if resource.health is None:
            return True
        try:
            answer = resource.health(live.value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - users' code; the value is replaced
            self._failed(resource.name, "health", error)
            return False
        return answer is None or bool(answer)

    def _retire(self, live: _Live) -> None:
        """Hand the value out no more; it is closed now, or when nobody uses it any more."""
        with self._lock:
            live.retired, live.place.live = True, None
            idle = live.users == 0
        if idle:
            self._tear_down(live, "unhealthy")

    def _release(self, held: list[_Live]) -> None:
        for live in reversed(held):
            with self._lock:
                live.users -= 1
                over = live.retired and live.users == 0
            if over:
                self._tear_down(live, "unhealthy")

    def _end(self, lives: list[_Live], because: str) -> None:
        interrupted: BaseException | None = None
        for live in sorted(lives, key=lambda live: live.number, reverse=True):
            try:
                self._tear_down(live, because)
            except BaseException as error:  # noqa: BLE001 - an interrupt must not leave the others open
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _tear_down(self, live: _Live, because: str) -> None:
        with self._lock:
            if live.closed:
                return
            live.closed = True
            self._lives.discard(live)
            if live.place.live is live:
                live.place.live = None
        try:
            live.stack.close()
        except Exception as error:  # noqa: BLE001 - users' code; what else there is to close is closed
            self._failed(live.name, "close", error)
        else:
            self._dispatcher.emit(ResourceClosed, resource=live.name, because=because)
        finally:
            self._release(live.needs)

    def _failed(self, name: str, during: str, error: BaseException) -> None:
        self._dispatcher.emit(
            ResourceFailed, resource=name, during=during, type=type(error).__qualname__, message=message_of(error)
        )


def _enter(resource: Resource, arguments: dict[str, Any], stack: ExitStack) -> Any:
    """Call the function; *stack* gets what closes the value: the rest of a generator, or leaving what contextlib made.

    Other objects are not entered: connections and locks are context managers of something else than their own life.
    """
    made = resource.function(**arguments)
    if isinstance(made, GeneratorType):
        return stack.enter_context(contextmanager(lambda: made)())
    if isinstance(made, AbstractContextManager) and AbstractContextManager in type(made).__mro__:
        return stack.enter_context(made)
    return made


def _override(name: str, value: Any, declared: Mapping[str, Resource]) -> Any:
    if name not in declared:
        hint = did_you_mean(name, declared) or f"declared: {', '.join(declared) or 'none'}"
        raise UsageError(f"resources={{{name!r}: ...}}: the pipeline has no such resource", hint=hint)
    if isinstance(value, Resource):
        raise UsageError(f"resources={{{name!r}: ...}}: {value!r} is a declaration", hint="give the value assets are to receive")
    return value
