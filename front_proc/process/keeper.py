"""The keeper of one instrument's process: follows the life cycle's table and keeps its deadlines.

Runs in the front. `lifecycle` says what follows from what, `child` does what is asked of a process, and the owner (a
Resource) knows who waits for what; this file only connects the three. A timer is kept per keeper, not per command:
an armed deadline that moved on re-arms when it fires.
"""

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from urllib.parse import quote

from front_proc.house import House, Owner
from front_proc.process.child import LATE, ChildProcess
from front_proc.process.identities import how_to_identify
from front_proc.process.lifecycle import TRANSITIONS, Action, Event, State, transition
from front_proc.serving.tickets import Outcome, failed
from instrument_proc import pipe
from instrument_proc.signs import Signs, Step
from pyvisa_daemon.errors import Effect, Failure, remedy_of

#: Seconds between the first two attempts to reach an instrument that is offline; they double from there.
RETRY_TIME = 1.0

#: The states that say what is to be done, whatever error led there.
_SAYS_MORE = {
    State.BACKOFF: "INSTRUMENT_BACKOFF",
    State.BROKEN: "INSTRUMENT_BROKEN",
    State.CHANGED: "INSTRUMENT_CHANGED",
    State.WEDGED: "INSTRUMENT_WEDGED",
}


class Culprit(Enum):
    """Who is to blame for the end of a process."""

    NOBODY = "nobody"  # it was commanded
    PROCESS = "process"  # it hung, crashed or raved: the breaker counts it
    INSTRUMENT = "instrument"  # it cannot be reached; the process is well
    STRANGER = "stranger"  # another one was reached; the process is well


class Keeper:
    """One process at a time, for one owner."""

    def __init__(self, house: House, owner: Owner) -> None:
        self._house = house
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.state = State.CLOSED
        self.child: ChildProcess | None = None
        #: How many processes have been asked to open it.
        self.generation = 0
        self.restarts = 0
        self.last_error: str | None = None
        #: The row of `errors.ERRORS` that it belongs to.
        self._last_token = ""
        #: Why its newest process was started, or will be.
        self.reason = ""
        #: How the death of its process is told to the command that it has.
        self._fate = "INSTRUMENT_CRASHED"
        #: Can its library clear the device while another call waits?
        self._can_abort = False
        #: Why the last open failed.
        self.refusal = failed("VI_ERROR_RSRC_NFOUND")
        self._breaker = house.breaker_of(owner.name)
        self._culprit = Culprit.NOBODY
        #: Of an instrument that is offline: when a command may try it again, and how long after that the next one.
        self._try_again_at_once()
        #: How far its newest process came with its order; known of a dead one, too.
        self._signs: Signs | None = None
        self._taking: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._backoff_timer: asyncio.TimerHandle | None = None

    def want(self) -> None:
        """Somebody opens it: a process is started, unless the last ones failed."""
        if self._is_refused:
            self._refuse()
            self.fire(Event.STRANGER)
            return
        is_offline = self.state is State.OFFLINE  # its last process did nothing wrong, and commands try it too
        self.fire(Event.WANTED if is_offline else self._breaker.admits(time.monotonic()))

    @property
    def refusal_of_opens(self) -> Outcome:
        """Why an open fails of what is dormant, or was just now tried in vain."""
        if self.state is not State.BACKOFF:
            return self.refusal
        wait = self._breaker.wait(time.monotonic())
        return failed("INSTRUMENT_BACKOFF", f"{self._breaker.reason}; the next start is in {wait:.1f} s")

    @property
    def refusal_of_commands(self) -> Outcome:
        """Why a command fails: as an open; but whatever viOpen found of what is offline, its session was open."""
        refusal = self.refusal_of_opens
        return failed("VI_ERROR_CONN_LOST", refusal.text) if self.state is State.OFFLINE else refusal

    @property
    def remedy(self) -> str | None:
        """What to do about the state it is in, or else about its last error; None if nothing is, or was, wrong."""
        token = _SAYS_MORE.get(self.state, self._last_token)
        return remedy_of(token) if token else None

    @property
    def identity(self) -> str | None:
        """Who was first seen there, if that is looked after."""
        return self._house.identities.known(self._owner.name) if self._owner.settings.is_identified else None

    @property
    def _is_refused(self) -> bool:
        return self._owner.settings.is_identified and self._house.identities.is_refused(self._owner.name)

    def _refuse(self) -> None:
        self.refusal = self._house.identities.refusal(self._owner.name)
        self._blame(self.refusal.token, self.refusal.text)

    def may_wake(self) -> bool:
        """May a command have a dormant instrument started again?"""
        now = time.monotonic()
        if self.state is State.OFFLINE:
            return now >= self._retry_at
        return self.state is State.BROKEN and self._breaker.admits(now) is Event.WANTED

    def wake(self) -> None:
        """A command does."""
        self.fire(Event.WANTED)

    def succeeded(self) -> None:
        """A command was carried out."""
        if self._retry_at:
            self._try_again_at_once()
        self._breaker.succeeded(time.monotonic())

    def reset(self) -> None:
        """An operator says that it is fine again, whoever it is now."""
        if self._is_refused:
            self._house.identities.accept(self._owner.name)
        self._breaker.reset()
        self._try_again_at_once()
        self.fire(Event.RESET)

    def _try_again_at_once(self) -> None:
        self._retry_at, self._retry_step = 0.0, min(RETRY_TIME, self._house.limits.longest_offline)

    def _try_again_later(self) -> None:
        self._retry_at = time.monotonic() + self._retry_step  # from the end of an attempt, which may itself be long
        self._retry_step = min(2 * self._retry_step, self._house.limits.longest_offline)

    def restart(self) -> None:
        """An operator says that it shall start anew."""
        if self._is_refused:
            self._house.identities.look_again(self._owner.name)
        if Event.RESTART in TRANSITIONS[self.state]:  # else it does so already, for a reason of its own
            self.reason = "an operator restarted it"
        self.fire(Event.RESTART)

    def abort(self, reason: str) -> None:
        """The running command shall end: by a device clear where that can be while it runs, else with its process."""
        self._blame_nobody("COMMAND_ABORTED", reason)
        self.fire(Event.ABORT if self._can_abort else Event.CUT)

    def cut(self, fate: str, reason: str) -> None:
        """The running command shall end with its process, which did nothing wrong."""
        self._blame_nobody(fate, reason)
        self.fire(Event.CUT)

    def _blame_nobody(self, fate: str, reason: str) -> None:
        if Event.CUT in TRANSITIONS[self.state]:  # else it ends already, for a reason of its own
            self._fate, self.reason = fate, reason

    def shut(self) -> None:
        """The daemon stops."""
        if Event.CLOSE in TRANSITIONS[self.state]:  # else it ends already, for a reason of its own
            self.reason, self._fate = "the daemon is stopping", "SHUTTING_DOWN"
        self.fire(Event.CLOSE)

    def lost(self, text: str) -> None:
        """The running command found that the instrument is no longer there."""
        if self._culprit is Culprit.NOBODY:  # else it crossed a kill
            self._culprit = Culprit.INSTRUMENT
        self._blame("VI_ERROR_CONN_LOST", text)
        self.refusal = failed("VI_ERROR_CONN_LOST", text)
        self._house.audit.record("unreachable", resource=self._owner.name, error=text)
        self.fire(Event.LOST)

    def arm(self, seconds: float | None) -> None:
        """The process has `seconds` from now for its next sign of life; None for no limit."""
        if seconds is None:
            self._deadline = None
            return
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        now = self._loop.time()
        if now - self._deadline > LATE:
            self._deadline = now + LATE  # we slept, not they: what they said meanwhile is read first
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)
            return
        if self._owner.prolongs():
            return
        self._deadline = None
        self.fire(Event.DEADLINE)

    def step_of(self, order: int) -> tuple[Step, float]:
        """How far the order with this number came, and when: in seconds of the monotonic clock."""
        return (Step.TAKEN, 0.0) if self._signs is None else self._signs.of(order)

    def fire(self, event: Event) -> None:
        """Follow the table."""
        self.state, actions = transition(self.state, event)
        for action in actions:
            self._ACTIONS[action](self)

    # What a child tells.

    def _reported(self, report: pipe.Report) -> None:
        if not isinstance(report, pipe.Opened):
            self._owner.reported(report)
            return
        if self.state is not State.OPENING:
            return  # it crossed a kill
        name = self._owner.name
        if report.status < 0:
            self._culprit = Culprit.INSTRUMENT
            self._try_again_later()
            self._blame(report.token, report.text)
            self.refusal = Outcome(report.status, token=report.token, effect=Effect.NONE, text=f"{name}: {report.text}")
            self._house.audit.record("unreachable", resource=name, error=report.text, outcome=report.token)
            self.fire(Event.REFUSED)
            return
        assert self.child is not None
        if self._owner.settings.is_identified and not self._house.identities.judge(name, report.identity):
            self._culprit = Culprit.STRANGER
            self._refuse()
            self._house.audit.record(
                "changed", resource=name, generation=self.generation, identity=report.identity, known=self.identity
            )
            self.fire(Event.STRANGER)
            return
        again = "restarted" if self.generation > 1 else "opened"
        self.restarts += self.generation > 1
        self._can_abort = report.can_abort
        self._house.audit.record(again, resource=name, pid=self.child.pid, generation=self.generation)
        self._owner.opened(report)
        self.fire(Event.OPENED)

    def sent_garbage(self, why: str) -> None:
        """It said what is no report, or none that it has to make."""
        if Event.GARBAGE not in TRANSITIONS[self.state]:
            return  # its last words do not matter, and its end is awaited
        self._owner.distrust()
        self._culprit = Culprit.PROCESS
        self._blame("INSTRUMENT_CRASHED", f"process {self._pid} is out of order: {why}")
        self.refusal = failed("INSTRUMENT_CRASHED", self.reason)
        self.fire(Event.GARBAGE)

    def _died(self) -> None:
        assert self.child is not None
        child, self.child = self.child, None
        details = {"resource": self._owner.name, "pid": child.pid, "death": child.describe_death()}
        if self.state is State.CLOSING:
            self._house.audit.record("closed", **details)
        elif self.state in (State.TERMINATING, State.KILLING, State.WEDGED):
            self._house.audit.record("killed", **details)
        else:
            self._culprit = Culprit.PROCESS
            self._blame("INSTRUMENT_CRASHED", f"process {child.pid} crashed: {child.describe_death()}")
            self.refusal = failed("INSTRUMENT_CRASHED", self.reason)
            self._house.audit.record("crashed", **details)
        self.fire(self._verdict())
        self._owner.process_ended()

    def _verdict(self) -> Event:
        """How a death goes on."""
        at_open = self.state in (State.OPENING, State.STARTING)
        is_wanted = self._owner.is_wanted(at_open=at_open)
        if self._culprit is Culprit.PROCESS:  # it counts, whoever wants what comes next
            event = self._on_record(self._breaker.failed(time.monotonic(), self.last_error))
        elif self._culprit is Culprit.STRANGER:  # unless an operator has had a word meanwhile
            event = Event.DIED_CHANGED if self._is_refused else Event.DIED_START
        elif (
            self._culprit is Culprit.INSTRUMENT and not self._owner.awaits_open
        ):  # an open always makes an attempt of its own
            event = Event.DIED_OFFLINE
        else:
            event = Event.DIED_START
        return event if is_wanted else Event.DIED

    def _verdict_without_a_process(self) -> Event:
        """How a start goes on for which there was no process: the machine is short of something."""
        if not self._owner.is_wanted(at_open=True):
            return Event.DIED
        return self._on_record(self._breaker.postponed(time.monotonic(), self.last_error))

    def _on_record(self, event: Event) -> Event:
        """A back-off or the end of all starts, for the audit."""
        if event is Event.DIED_WAIT:
            wait = round(self._breaker.wait(time.monotonic()), 3)
            self._house.audit.record("backoff", resource=self._owner.name, wait_s=wait, error=self.last_error)
        elif event is Event.DIED_OFTEN:
            self._house.audit.record("broken", resource=self._owner.name, error=self.last_error)
        return event

    def _blame(self, token: str, what: str) -> None:
        self._last_token = token
        self.reason = self.last_error = what

    @property
    def _pid(self) -> int | None:
        return self.child.pid if self.child is not None else None

    # Actions, in the order of lifecycle.Action.

    def _take_child(self) -> None:
        self.arm(None)
        if self._backoff_timer is not None:
            self._backoff_timer.cancel()
        self._taking = self._loop.create_task(self._take_from_pool())

    async def _take_from_pool(self) -> None:
        try:
            child = await self._house.take_child()
        except Failure as error:
            self._blame(error.token, error.text)
            self.refusal = failed(error.token, error.text)
            if self.state is State.STARTING:
                self.fire(self._verdict_without_a_process())
            return
        if self.state is not State.STARTING:
            child.kill()  # nobody wants it any more
            return
        self.child = child
        self._signs = child.signs
        child.on_report = self._reported
        child.on_garbage = self.sent_garbage
        child.on_death = self._died
        self.fire(Event.WARM)

    def _send_open(self) -> None:
        assert self.child is not None
        self._culprit = Culprit.NOBODY
        self._fate = "INSTRUMENT_CRASHED"
        self.generation += 1
        name = self._owner.name
        lock_file = self._house.lock_folder / (quote(name, safe="") + ".lock")
        settings, open_time = self._owner.settings, self._house.limits.open_time
        identify = how_to_identify(settings, open_time) if settings.is_identified else None
        self.arm(open_time if identify is None else 2 * open_time)
        self.child.send(pipe.Open(name, settings.library, str(lock_file), *self._owner.to_open(), identify))

    def _serve(self) -> None:
        self.arm(None)
        self._fate = "INSTRUMENT_CRASHED"  # whatever was said of the last command is over
        self._owner.serve()

    def _fail_opens(self) -> None:
        self._owner.fail_opens(self.refusal_of_opens)

    def _fail_running(self) -> None:
        future = "" if self._fate == "SHUTTING_DOWN" else "; it starts anew"
        self._owner.fail_running(self._fate, self.reason + future)

    def _fail_queued(self) -> None:
        name = self._owner.name
        if self._culprit is Culprit.STRANGER:
            self._owner.fail_queued(self.refusal)
        elif self._culprit is Culprit.INSTRUMENT:
            self._owner.fail_queued(failed("VI_ERROR_CONN_LOST", f"{name}: not executed, {self.last_error}"))
        else:
            self._owner.fail_queued(failed("SESSION_RESET", f"{name}: not executed, {self.reason}"))

    def _dump_and_kill(self) -> None:
        assert self.child is not None
        self._culprit = Culprit.PROCESS
        self.child.dump_and_kill()
        self.arm(self._house.limits.kill_time)

    def _name_hang(self) -> None:
        self._blame("INSTRUMENT_HUNG", f"no answer by its deadline: process {self._pid} hung and is killed")
        self._fate = "INSTRUMENT_HUNG"
        self.refusal = failed("INSTRUMENT_HUNG", self.reason)
        assert self.child is not None
        where = self.child.describe_state()
        self._house.note_hang(self._owner.name, self.child.pid, where)
        self._house.audit.record(
            "hung", resource=self._owner.name, pid=self._pid, generation=self.generation, process=where
        )

    def _kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.arm(self._house.limits.kill_time)

    def _send_abort(self) -> None:
        assert self.child is not None
        self.child.abort(self._owner.running)
        self.arm(self._house.limits.abort_time)

    def _terminate(self) -> None:
        assert self.child is not None
        self.child.terminate()
        self.arm(self._house.limits.terminate_time)

    def _send_close(self) -> None:
        assert self.child is not None
        self.child.send(pipe.Close())
        self.arm(self._house.limits.close_time)

    def _start_backoff(self) -> None:
        wait = self._breaker.wait(time.monotonic())
        self._backoff_timer = self._loop.call_later(wait, self.fire, Event.ELAPSED)

    def _give_up(self) -> None:
        why = self._breaker.reason
        self.refusal = failed("INSTRUMENT_BROKEN", f"{why}; `reset {self._owner.name}` tries again")

    def _call_wedged(self) -> None:
        assert self.child is not None
        where = self.child.describe_state()
        self.refusal = failed("INSTRUMENT_WEDGED", f"process {self._pid} does not die: the kernel holds it ({where})")
        self._house.audit.record("wedged", resource=self._owner.name, pid=self._pid, process=where)
        self._owner.process_ended()  # for those who wait, though the kernel still has it

    def _forget(self) -> None:
        self.arm(None)
        if self._backoff_timer is not None:
            self._backoff_timer.cancel()
        self._owner.forget()

    _ACTIONS: dict[Action, Callable[["Keeper"], None]] = {
        Action.TAKE_CHILD: _take_child,
        Action.SEND_OPEN: _send_open,
        Action.SERVE: _serve,
        Action.FAIL_OPENS: _fail_opens,
        Action.FAIL_RUNNING: _fail_running,
        Action.FAIL_QUEUED: _fail_queued,
        Action.NAME_HANG: _name_hang,
        Action.DUMP_AND_KILL: _dump_and_kill,
        Action.KILL: _kill,
        Action.SEND_ABORT: _send_abort,
        Action.SEND_CLOSE: _send_close,
        Action.TERMINATE: _terminate,
        Action.START_BACKOFF: _start_backoff,
        Action.GIVE_UP: _give_up,
        Action.CALL_WEDGED: _call_wedged,
        Action.FORGET: _forget,
    }
