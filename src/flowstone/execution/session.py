"""One run in progress in this process: its plan, what has ended, and what the next step should do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowstone.assets.asset import AnyAsset
from flowstone.assets.keys import decode_key, display_key
from flowstone.assets.pipeline import Pipeline
from flowstone.audit.recorder import NOBODY, Who
from flowstone.events.catalogue import MaterializationDelayed
from flowstone.events.trace import Attempt, Trace, span_id_of
from flowstone.execution.asking import Requester
from flowstone.execution.body import Loading, Work
from flowstone.execution.decision import (
    FORCED,
    INPUTS,
    Made,
    changed_inputs,
    facts_of,
    resolved_config,
    short,
    source_version,
    why_outdated,
)
from flowstone.execution.gating import gated
from flowstone.execution.moves import Compute, Decision, Observe, Reuse, Skip, Weakened
from flowstone.execution.plan import Input, Place, Plan, Step
from flowstone.execution.schedule import GOOD, Ending, Schedule
from flowstone.execution.services import Services
from flowstone.execution.settlement import Claim, Settlement, Try
from flowstone.execution.step import Steps
from flowstone.execution.weakened import held, weakened_gates
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import DependencyError, ExecutionError, SettingsError
from flowstone.io_managers import Output, Target
from flowstone.stores import approvals, materializations, outputs
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.lineage import edges_into
from flowstone.stores.records import OutputRecord

SHOWN_INPUTS = 5  # of the inputs that changed


class Session:
    """The state of one run while it is worked on."""

    def __init__(
        self,
        services: Services,
        pipeline: Pipeline,
        run_id: str,
        trace: Trace,
        plan: Plan,
        *,
        force: frozenset[Place] = frozenset(),
        who: Who = NOBODY,
        author: str = "",
    ) -> None:
        self.services, self.pipeline, self.run_id, self.plan = services, pipeline, run_id, plan
        self.schedule = Schedule(plan)
        requester = Requester(pipeline.name, run_id, trace.trace_id, who, author)
        self.steps = Steps(services, requester, self.schedule.behind)
        self._trace, self._force, self.who = trace, force, who
        self._outputs: dict[str, OutputRecord] = {}
        self._current: dict[Place, OutputRecord] = {}
        self._config: dict[str, Mapping[str, Any]] = {}
        self._versions: dict[Place, str | Exception] = {}
        self._delayed: set[Place] = set()
        self._asked: set[Place] = set()
        """The partitions people were asked about when this began, whether their asset declares a gate or asks by itself."""
        self._weakened: dict[str, Weakened] = {}

    def prepare(self) -> None:
        """Read the plan's current outputs and ask every source for its version: user code, so no transaction is open."""
        assets = {step.asset for step in self.plan.steps}
        with self.services.database.reading() as connection:
            self._current = outputs.current_of(
                connection, self.services.project, assets, {step.partition for step in self.plan.steps}
            )
            pinned = {item.output for step in self.plan.steps for item in step.inputs if item.output}
            ended = {ending.output for ending in self.schedule.endings.values() if ending.output}
            self._outputs = outputs.find(connection, pinned | ended) if pinned | ended else {}
            self._asked = approvals.open_places(connection, self.services.project)
            self._weakened = weakened_gates(connection, self.services, self.pipeline, assets)
        self._outputs |= {record.id: record for record in self._current.values()}
        for step in self.plan.steps:
            asset = self.pipeline[step.asset]
            if asset.version is not None and step.place not in self.schedule.endings:
                self._versions[step.place] = _version_now(asset, step, self.config_of)

    def config_of(self, asset: AnyAsset) -> Mapping[str, Any]:
        """The config values the asset declares, secrets resolved now."""
        known = self._config.get(asset.name)
        if known is None:
            known = resolved_config(asset, self.services.config, self.services.resolve_secret)
            self._config[asset.name] = known
        return known

    def forced(self, step: Step) -> bool:
        """Whether the step is computed even when it is up to date."""
        return step.place in self._force

    def decide(self, step: Step) -> Decision:
        """Decide what the ready *step* does."""
        blocked = self.schedule.blocked(step)
        if blocked:
            return Skip(step, *blocked)
        asset = self.pipeline[step.asset]
        version = self._versions.get(step.place, "")
        if isinstance(version, Exception) and step.place in self.steps.tries:
            version = self._versions[step.place] = _version_now(asset, step, self.config_of)
        refused = version if isinstance(version, Exception) else None
        inputs, missing = self._inputs(step)
        if missing:
            refused = DependencyError(
                f"asset {step.asset!r}: required inputs have no value: {', '.join(missing[:20])}", hint="run them first"
            )
        facts = facts_of(asset, self.services.config, inputs, version if isinstance(version, str) else "")
        current = self._current.get(step.place)
        if refused is not None:
            return Compute(step, asset, facts, tuple(inputs), "", refused)
        because = FORCED if step.place in self._force else why_outdated(asset, facts, current)
        if because is not None and current is not None and INPUTS in because:
            because = because.replace(INPUTS, self._changed_inputs(current, inputs))
        if asset.observed:
            return Observe(step, facts) if because or current is None else Reuse(step, current, "same version")
        if because is None and current is not None and not self.services.io.get(current.manager).exists(as_output(current)):
            because = "its stored bytes are gone"
        if because is None and current is not None:
            return Reuse(step, current, _unchanged(asset, current))
        seen = None if step.place in self._force else current.id if current is not None else ""
        compute = Compute(step, asset, facts, tuple(inputs), because or "", None, seen)
        holding = held(self.services, self.run_id, compute, self._weakened)
        if holding is None and (asset.approval is not None or step.place in self._asked):
            holding = gated(self.services, self.run_id, compute, forced=step.place in self._force)
        return holding or compute

    def claim(self, tx: Transaction, compute: Compute) -> Claim | None:
        """T1 of a step that must be computed; ``None`` when that cannot be now."""
        asset = compute.asset
        claim = self.steps.claim(
            tx, compute.step, asset, compute.facts, compute.inputs, compute.because, self.limits_of(asset.name), compute.seen
        )
        if claim is not None and self.services.tracing is not None:
            made = (self._outputs[item.output] for item in compute.inputs)
            producers = [Attempt(one.run_id, one.asset, one.partition, one.attempt) for one in made if one.attempt]
            self.services.tracing.produced(Attempt(self.run_id, *compute.step.place, claim.number), producers)
        return claim

    def limits_of(self, asset: str) -> Mapping[str, int]:
        """The limited resources the asset needs, with how many attempts of all processes may hold each."""
        if not self.pipeline.resources:
            return {}
        needed = self.pipeline.resources_of(asset)
        return {name: limit for name in needed if (limit := self.pipeline.resources[name].limit) is not None}

    def is_held_up(self, compute: Compute) -> bool:
        """Whether a step that could not be claimed must wait; not when it was made since it was decided, which is known now.

        What it waits for, another run that computes it or a limited resource, is said once a step.
        """
        place, database = compute.step.place, self.services.database
        with database.reading() as connection:
            other = materializations.computing(connection, self.services.project, *place)
            current = self._refresh(connection, place)
        if current is not None and compute.seen not in (None, current.id):
            return False
        limits = self.limits_of(place[0])
        if place not in self._delayed and (other is not None or limits):
            told = (
                {"reason": "resource", "holder": ", ".join(limits)} if other is None else {"reason": "claimed", "holder": other}
            )
            with database.transaction() as tx:
                tx.emit(MaterializationDelayed, at=database.now(), **told, **self.steps.where(compute.step))
        self._delayed.add(place)
        return True

    def _refresh(self, connection: Connection, place: Place) -> OutputRecord | None:
        """The output that is current now."""
        current = outputs.current(connection, self.services.project, *place)
        if current is not None:
            self._current[place] = self._outputs[current.id] = current
        return current

    def _changed_inputs(self, current: OutputRecord, inputs: list[Made]) -> str:
        """Name the inputs that differ from those *current* was made from."""
        with self.services.database.reading() as connection:
            edges = edges_into(connection, [current.id])
            used = outputs.find(connection, [edge.upstream for edge in edges])
        records = [(edge.parameter, used[edge.upstream]) for edge in edges if edge.upstream in used]
        before = [Made(parameter, made.asset, made.partition, made.id, made.digest) for parameter, made in records]
        named = changed_inputs(before, inputs)
        more = [f"{len(named) - SHOWN_INPUTS} more"] if len(named) > SHOWN_INPUTS else []
        return f"input {', '.join([*named[:SHOWN_INPUTS], *more])}" if named else INPUTS

    def _inputs(self, step: Step) -> tuple[list[Made], list[str]]:
        made, missing = [], []
        for item in step.inputs:
            output = self._output_of(item)
            if output is not None:
                made.append(Made(item.parameter, item.asset, item.partition, output.id, output.digest))
            elif not item.optional:
                missing.append(f"{item.asset} {display_key(decode_key(item.partition))}" if item.partition else item.asset)
        return made, missing

    def _output_of(self, item: Input) -> OutputRecord | None:
        if not item.planned:
            return self._outputs.get(item.output)
        ending = self.schedule.endings[(item.asset, item.partition)]
        return self._outputs.get(ending.output) if ending.status in GOOD else None

    def wait(self, step: Step, row: int | None) -> None:
        """Leave a step, whose *row* waits, to people; without one it is decided again at once, upon what is current now."""
        if row is None:
            with self.services.database.reading() as connection:
                self._refresh(connection, step.place)
            self.schedule.ready(step.place)
            return
        self.steps.tries.setdefault(step.place, Try()).row = row
        self.schedule.wait(step.place)

    def waits_for_people(self) -> bool:
        """Whether nothing can be done before people have decided."""
        return bool(self.schedule.waiting) and not self.schedule.has_more()

    def look(self) -> bool:
        """Take in what people have decided about what waits for them; return whether anything has moved."""
        waiting = {self.steps.tries[place].row: place for place in self.schedule.waiting}
        with self.services.database.reading() as connection:
            rows = [row for row in materializations.find(connection, waiting) if row.status not in ("running", "waiting")]
            made = outputs.find(connection, [row.output for row in rows if row.output])
        for row in rows:
            output = made.get(row.output)
            if row.status == "retrying":
                self.schedule.answered(waiting[row.id])
            else:
                digest = output.digest if output is not None else ""
                self.ended(waiting[row.id], Ending(row.status, row.output, digest, row.reason, row.message), output)
        return bool(rows)

    def work(self, claim: Claim, refused: Exception | None) -> Work:
        """What the body needs for a claimed attempt."""
        asset, step = claim.asset, claim.step
        target = Target(self.services.project, step.asset, step.partition, self.run_id, claim.number, claim.output_id)
        inputs = tuple(
            Loading(i.parameter, self.pipeline[i.asset], as_output(self._outputs[i.output]), i.partition) for i in claim.inputs
        )
        previous = self._current.get(step.place)
        manager = asset.io or self.services.io.default
        same = previous is not None and previous.manager == manager
        config: Mapping[str, Any] = {}
        try:
            config = self.config_of(asset) if asset.config else {}
        except SettingsError as error:  # a secret that is not there fails the step that needs it
            refused = refused or error
        return Work(
            asset,
            decode_key(step.partition),
            target,
            manager,
            inputs,
            config,
            self._trace_of(claim),
            as_output(previous) if previous is not None and same else None,
            refused,
        )

    def _trace_of(self, claim: Claim) -> Trace:
        """The attempt's span: as it is recorded, else as it would be."""
        attempt = Attempt(self.run_id, *claim.step.place, claim.number)
        trace = self._trace._replace(span_id=span_id_of(*attempt))
        return self.services.tracing.trace_of(attempt, trace) if self.services.tracing is not None else trace

    def ended(self, place: Place, ending: Ending, output: OutputRecord | None = None) -> None:
        """Note the ending of a step and its output."""
        if output is not None:
            self._outputs[output.id] = output
        self.schedule.end(place, ending)

    def apply(self, settled: Settlement, output: OutputRecord | None) -> None:
        """Note what a settlement means for the steps behind it."""
        place = settled.claim.step.place
        if settled.ending is not None:
            self.ended(place, settled.ending, output)
        elif settled.approval_id:
            self.schedule.wait(place)
        elif settled.retry_at is not None:
            self.schedule.delay(place, settled.retry_at)


def _version_now(asset: AnyAsset, step: Step, config_of: Callable[[AnyAsset], Mapping[str, Any]]) -> str | Exception:
    """What a source's version function gives, or raises: then the step's attempt fails with it."""
    try:
        return source_version(asset, decode_key(step.partition), config_of(asset))
    except SystemExit as error:
        return ExecutionError(f"the version function of source {asset.name!r} raised SystemExit({error})")
    except Exception as error:  # noqa: BLE001 - user code
        return error


def as_output(record: OutputRecord) -> Output:
    """The IO manager's view of a stored output."""
    return Output(record.location, record.format, record.digest, record.size, record.manager, record.rows, record.schema)


def _unchanged(asset: AnyAsset, current: OutputRecord) -> str:
    since = as_datetime(current.created_at).strftime("%Y-%m-%d %H:%M UTC")
    if asset.version is not None:
        return f"source fingerprint {short(current.source_version)} unchanged since {since}"
    return f"code and inputs unchanged since {since}" if current.inputs else f"code unchanged since {since}"
