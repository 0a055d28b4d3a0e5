"""`binauthz-attest reattest`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event as Flag
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

import typer

from step.cli.attestors import AttestorOptions
from step.cli.connection import RETRIES, ConnectionOptions
from step.cli.keys import FleetKeyOptions
from step.cli.options import HOW, OUT, WHAT, WHO, Format, app_of, option
from step.cli.program import Program
from step.cli.run import RECEIPTS, Event, OutputOptions, deliver
from step.cli.sources import SourceOptions
from step.clock import parse_duration
from step.concurrency import Deadline
from step.errors import BadInput, Incomplete, Interrupted, Refused, StepError, Unavailable
from step.events import Failure, Progress
from step.model.names import AttestorName, ProjectName
from step.model.shard import Shard
from step.results.goal import Goal

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.journal import Journal
    from step.reattest.plan import Outcome, Plan, Settings
    from step.reattest.reattest import Reattestation
    from step.results.receipt_lines import ReceiptLines
    from step.results.result import Result

# How many receipts a result has of its own; people read few. All go to --receipts.
_RECEIPTS = {Format.JSON: 1000, Format.TEXT: 20}
_FAILURES = 100
# A night, and some.
_DEADLINE = timedelta(hours=24)
# Each pair is an index, from 0, and a count, as engines of parallel tasks tell them:
# https://cloud.google.com/run/docs/container-contract#jobs-env-vars and
# https://cloud.google.com/batch/docs/create-run-job#predefined-environment-variables
_TASKS = (
    ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    ("BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
)
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
_COMPLETION = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class OldOptions:
    """What the options say of what must be true of an image before."""

    old_attestor: list[str] | None = option(
        WHO,
        "Attestor whose attestation must verify before a new one is made; of several, all. "
        "Default: the new attestor itself, under any key that it lists. Repeatable.",
        "NAME",
    )
    unverified: bool = option(
        WHO,
        "Attest what no old attestation vouches for, too; receipts and summary say so.",
        default=False,
        variables=(),
    )


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """What the options say of the part of the images that this run is for."""

    shard: str | None = option(
        WHAT,
        "Only part I of N, from 1, by digest. Default: as Cloud Run jobs and Batch number their "
        "tasks.",
        "I/N",
    )
    shards: str | None = option(
        WHAT, "How many parts there are, where a Kubernetes Job numbers its pods.", "N"
    )

    def part(self, program: Program) -> Shard:
        """The part that this run is for; raises BadInput for what names none."""
        environ = program.environ
        if self.shard:
            return Shard.parse(self.shard, "--shard")
        if self.shards:
            if _COMPLETION not in environ:
                raise BadInput(
                    f"--shards is given, and {_COMPLETION} is not set",
                    "Give --shard I/N; the variable is set in an Indexed Job of Kubernetes.",
                )
            return _task(environ[_COMPLETION], self.shards, "--shards")
        for index, count in _TASKS:
            if index in environ and count in environ:
                return _task(environ[index], environ[count], index)
        return Shard()


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """What the options say of how the work is done."""

    attestation_project: str | None = option(
        WHO, "Project that stores the attestations; default the attestor's.", "PROJECT"
    )
    journal: str | None = option(
        HOW,
        "Where to note what is done, so that a run that was ended goes on: a file, a folder, or "
        "gs://BUCKET/PATH.",
        "PATH",
    )
    rate: list[str] | None = option(
        HOW,
        "Call a method at most N times a minute, all shards together: AsymmetricSign=600. "
        "Repeatable. Default: what is allowed is found out.",
        "METHOD=N",
    )
    validate: str = option(
        HOW,
        "Which signatures Binary Authorization verifies, too: the first of each attestor and key, "
        "every, or never. All are verified here.",
        "first|every|never",
        "first",
    )
    dry_run: bool = option(HOW, "Only show the plan.", default=False)
    yes: bool = option(HOW, "Do what is planned without asking.", default=False, variables=())
    receipts: str | None = option(OUT, RECEIPTS, "PATH")
    report: str | None = option(
        OUT, "Page about all images: HTML, or Markdown where the name ends with .md.", "FILE"
    )

    def settings(self, old: OldOptions) -> Settings:
        """How to re-attest; raises BadInput for what is neither first, every nor never."""
        from step.reattest.plan import Settings, Validate

        if self.validate not in {each.value for each in Validate}:
            raise BadInput(
                f"--validate: {self.validate!r} is none of first, every and never",
                "first is enough: all signatures are verified here.",
            )
        project = ProjectName(self.attestation_project) if self.attestation_project else None
        validate, receipts = Validate(self.validate), self.receipts is not None
        return Settings(project, old.unverified, validate, receipts)


@dataclass(frozen=True, slots=True)
class BulkConnectionOptions(ConnectionOptions):
    """What the options say of a run that may take a night."""

    deadline: str | None = option(
        HOW,
        "When the whole run ends, whatever a server does: 90s, 10m or 1h. Default 24h.",
        "DURATION",
    )
    retry_for: str = option(HOW, RETRIES, "DURATION", "15m")

    def until(self, program: Program, waits: timedelta = timedelta(0)) -> Deadline:
        """When the run ends that begins now; raises BadInput for what is not a duration."""
        limit = _DEADLINE if self.deadline is None else parse_duration(self.deadline, "--deadline")
        return Deadline.after(program.clock, limit)


def reattest(
    context: typer.Context,
    images: SourceOptions,
    shard: ShardOptions,
    attestors: AttestorOptions,
    old: OldOptions,
    key: FleetKeyOptions,
    bulk: BulkOptions,
    run: BulkConnectionOptions,
    output: OutputOptions,
) -> None:
    """Attest many images anew, after a key was rotated for example.

    What has an old attestation that verifies gets a new one; what has the new one already is left
    as it is. It is planned first, and asked about unless --yes is given. A run that was ended goes
    on where it was: nothing is lost, and nothing is made twice.
    """
    program: Program = context.obj

    def verb() -> Iterator[Event]:
        from step.cloud.rates import Rates
        from step.reattest.reattest import Wanted, prepare

        images.require()
        names, part = attestors.names(), shard.part(program)
        rates = Rates.parse(bulk.rate or (), "--rate", part.count)
        settings = bulk.settings(old)
        connection = run.connection(program, run.until(program), rates)
        project = attestors.default_project
        before = [AttestorName.parse(name, project) for name in old.old_attestor or ()]
        wanted = Wanted(
            names,
            key.signers(program, connection),
            before,
            images.listed(project),
            images.from_key or None,
        )
        task = prepare(wanted, connection, settings, part)
        session = _Session(program, connection, task, bulk, images.description(), output.format)
        for digest, name in images.read(program, connection, project):
            task.fleet.add(digest, name)
        yield from session.run()

    deliver(verb, Goal.REATTESTED, program, output)


app = app_of(reattest)


@dataclass
class _Session:
    """From a list of images to rows and failures: look, plan, ask, do, report."""

    program: Program
    connection: Connection
    task: Reattestation
    bulk: BulkOptions
    source: str
    form: Format
    _stopped: Flag = field(default_factory=Flag)
    _rows: int = 0
    _told: dict[str, int] = field(default_factory=dict)

    def run(self) -> Iterator[Event]:
        """The whole run."""
        from step.results.files import require_writable

        program, bulk, task = self.program, self.bulk, self.task
        if bulk.report:  # better known before anything is created than after
            require_writable(bulk.report)
        journal = self._journal()
        try:
            if task.settings.unverified:
                program.warn("--unverified: what no old attestation vouches for is attested, too")
            yield from task.look()
            plan = task.plan()
            if bulk.dry_run:
                yield plan
                return
            self._agree(plan)
            receipts = self._receipts()
            whole = False
            try:
                yield from self._perform(plan, journal, receipts)
                whole = True
            finally:
                if receipts is not None:
                    receipts.close(whole=whole)
        finally:
            if journal is not None:
                journal.close()
        if bulk.report:
            self._report(bulk.report)

    def _perform(
        self, plan: Plan, journal: Journal | None, receipts: ReceiptLines | None
    ) -> Iterator[Event]:
        from step.reattest.plan import Advance, Outcome
        from step.results.meter import Meter

        meter = Meter(plan.to_do, self.connection.clock, sys.stderr)
        ended = False
        try:
            with self._finishing():
                for event in self.task.perform(journal, self._stopped.is_set):
                    match event:
                        case Advance():
                            meter.advance(event.stored, event.failed)
                        case Outcome():
                            if receipts is not None and event.receipt is not None:
                                receipts.add(event.receipt)
                            yield from self._shown(event)
                        case Failure():
                            ended = True
                            yield Failure(None, None, _resumable(event.error))
                        case Progress():
                            yield event
        finally:
            meter.close()
        yield from self._summed(ended=ended)

    def _summed(self, *, ended: bool) -> Iterator[Event]:
        """How far all came, and what more there is to say than was shown."""
        for state, count in self._told.items():
            if count > _FAILURES:
                kind = Refused if state == "refused" else Incomplete
                more = f"{count - _FAILURES:,} more images"
                yield Failure(more, None, kind(f"{state}, for the reasons above or others"))
        tallies = list(self.task.tallies())
        yield from tallies
        left = sum(tally.left for tally in tallies)
        if self._stopped.is_set():
            yield Failure(
                None, None, Interrupted(f"interrupted; {left:,} are left", "Run again to go on.")
            )
        elif left and not ended:
            yield Failure(None, None, Incomplete(f"{left:,} are left", "Run again to go on."))

    def _shown(self, outcome: Outcome) -> Iterator[Event]:
        """An outcome as row or failure, as long as there are not too many."""
        if outcome.receipt is not None:
            self._rows += 1
            if self._rows <= _RECEIPTS[self.form]:
                yield outcome.receipt
        if outcome.error is not None:
            count = self._told[outcome.state.word] = self._told.get(outcome.state.word, 0) + 1
            if count <= _FAILURES:
                yield Failure(outcome.image, outcome.attestor, outcome.error)

    def _agree(self, plan: Plan) -> None:
        """Show the plan, and ask; raises BadInput where nobody can be asked, Refused for a no."""
        from step.results.outcomes import plan_lines

        for label, text in plan_lines(plan):
            self.program.terminal.remark(f"{label}{text}")
        if self.bulk.yes or not plan.to_do:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise BadInput(
                f"{plan.to_do:,} attestations would be made, and nobody can be asked",
                "Read the plan with --dry-run; then give --yes.",
            )
        if not typer.confirm(f"Make {plan.to_do:,} attestations?", err=True):
            raise Refused("nothing was done: the answer was no")

    def _journal(self) -> Journal | None:
        from step.cloud.storage import Storage
        from step.journal import Header, Journal, journal_lines

        if not self.bulk.journal or self.bulk.dry_run:
            return None
        task = self.task
        old = [str(task.survey.attestors[need].name) for t in task.targets for need in t.needs]
        header = Header(
            tuple(str(target.name) for target in task.targets),
            tuple(target.key.id for target in task.targets),
            f"{self.source}; old={sorted(set(old))}; unverified={task.settings.unverified}",
            str(task.fleet.shard),
            self.program.uses_emulator,
        )
        storage = Storage(self.connection)
        lines, where = journal_lines(self.bulk.journal, task.fleet.shard, storage)
        try:
            return Journal(lines, header, where).open()
        except BaseException:
            lines.close()
            raise

    def _receipts(self) -> ReceiptLines | None:
        if self.bulk.receipts is None:
            return None
        from step.cloud.storage import Storage
        from step.results.receipt_lines import ReceiptLines

        return ReceiptLines(
            self.bulk.receipts,
            self._result,
            self.task.fleet.shard,
            lambda: Storage(self.connection),
            self.connection.clock.now(),
        ).open()

    @property
    def _result(self) -> Result:
        """What all rows have in common."""
        from step.results.result import Result

        build = self.program.environment.build
        return Result(Goal.REATTESTED, build=build, emulator=self.program.uses_emulator)

    def _report(self, path: str) -> None:
        from step.results.report import write_report

        write_report(path, self.task, self._result, self.connection.clock.now())

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """Let a first Ctrl-C end what is under way, and a second one everything."""
        if current_thread() is not main_thread():
            yield
            return

        def stop(*_: object) -> None:
            if self._stopped.is_set():
                raise KeyboardInterrupt
            self._stopped.set()
            self.program.terminal.remark("ending what is under way; again to stop at once")

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # What is ignored, by nohup for example, stays so.
        heard = [each for each in numbers if signal.getsignal(each) is not signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _resumable(error: StepError) -> StepError:
    """An error that ended work which another run can go on with."""
    return Incomplete(error.message, error.hint) if isinstance(error, Unavailable) else error


def _task(index: str, count: str, option: str) -> Shard:
    """A part by an index from 0, as engines of parallel tasks have it."""
    if not (index.isdecimal() and count.isdecimal()):
        raise BadInput(f"{option}: {index!r} of {count!r} is no task", "Both are whole numbers.")
    return Shard(int(index) + 1, int(count))
