"""Whatever happens, in whatever order: the real Resource, Service and Keeper under random histories.

Clients open, send, lock, wait for events, abort, abandon, close, leave and are lost; the child starts, answers, fails,
hangs, sends garbage and dies; operators restart, reset and have it made safe; time passes. After each step, and at the
end, what the front promises must hold. Here the child says whatever it likes; `test_exchange_machine` has one that does
as it is told.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from front_proc.process.lifecycle import State
from front_proc.serving.events import RQS, SERVICE_REQUEST
from front_proc.serving.leases import Terms
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE
from front_proc.serving.tickets import failed
from instrument_proc import pipe
from instrument_proc.signs import Step
from pyvisa_daemon.errors import ERRORS, Effect, Failure
from tests.front_proc.playbook import BAUD_RATE, Answers, Stage

#: A process is awaited here, each time for as long as its limit says.
ARE_BOUNDED = {State.OPENING, State.ABORTING, State.RESYNC, State.KILLING, State.CLOSING, State.TERMINATING}
HAVE_CHILD = {State.READY, State.BUSY, State.WEDGED} | ARE_BOUNDED
#: A command of a client's may be with the process here; after a kill it is judged when that is dead.
HAVE_COMMAND = {State.BUSY, State.ABORTING, State.KILLING}

#: What a command may be.
COMMANDS = {
    "query": ("query", {"data": b"A?\n"}),
    "question": ("write", {"data": b"A?\n"}),
    "two questions": ("write", {"data": b"A?\nB?\n"}),
    "statement": ("write", {"data": b"A\n"}),
    "part of a message": ("write", {"data": b"A"}),
    "read": ("read", {"arguments": [4]}),
    "whole read": ("read_message", {}),
    "clear": ("clear", {}),
    "status byte": ("read_stb", {}),
    "attribute": ("get_attribute", {"arguments": [BAUD_RATE]}),
    "own attribute": ("set_attribute", {"arguments": [VI_ATTR_TMO_VALUE, 3000]}),
    "everybody's attribute": ("set_attribute", {"arguments": [BAUD_RATE, 9600]}),
}
#: Those of them that are I/O.
IS_IO = {"write", "query", "read", "read_message", "clear", "read_stb"}
FAILURES = ["VI_ERROR_TMO", "VI_ERROR_IO", "VI_ERROR_CONN_LOST", "VI_ERROR_NSUP_OPER", "VI_ERROR_ABORT"]

#: What a child may do wrong at any time (reports are those that it was not asked for), and operators' words.
TROUBLES = [
    *["refuses", "babbles", "dies", "dies", "no process can be started", "restart", "reset"],
    *[
        pipe.Done(0, 0),
        pipe.Done(1, 0, 0),
        pipe.Opened(0, "", "", False, []),
        pipe.Closed(),
        pipe.Warm(),
    ],
]

#: The messages of the safe state, where there is one.
SAFE = (b"OUTP OFF", b"VOLT 0")

several = st.integers(0, 5)


def is_given(opening):
    return opening.done() and not opening.cancelled() and opening.exception() is None


class Histories(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.monkeypatch = pytest.MonkeyPatch()
        self.stage = Stage(self.monkeypatch)
        self.clients = []
        self.opens = []
        self.answers: list[Answers] = []
        #: What became of the requests for locks and events.
        self.locks = []
        self.events = []
        #: The aborts that were asked for, each with the ticket that ran.
        self.aborts = []
        #: What became of operators' words, and the orders of the safe state, each with its demand and its child.
        self.safe = []
        self.safe_orders = []
        #: Those from whom locks were taken.
        self.losers = set()
        #: The numbers of orders without effect by the child's own word, and of those in which it is not to be believed.
        self.without_effect, self.doubtful = set(), set()
        self.is_marked = False
        self.stage.on_run = self.is_served

    @initialize(linger=st.sampled_from([0.0, 5.0]), is_warm=st.booleans(), ends=st.booleans(), is_safe=st.booleans())
    def begin(self, linger, is_warm, ends, is_safe):
        self.stage.configure(safe_state=SAFE if is_safe else ())
        self.stage.house.linger = linger
        self.is_marked = ends
        self.watch_locks()
        self.go_well()
        self.stage.is_warm = is_warm

    def watch_locks(self):
        locks = self.stage.service.locks
        self.on_lost, locks._on_lost = locks._on_lost, self.lock_is_lost

    def is_served(self, order):
        """An order goes to the child."""
        ticket, safe = self.stage.service._running, self.stage.service.safe
        if not order.ticket:
            return
        if ticket is None:
            self.safe_message_is_sent_once(order, safe)
            return
        assert not safe.is_due, "the safe state comes first"
        assert ticket.number == order.ticket
        is_global = order.call == "set_attribute" and order.arguments[0] == BAUD_RATE
        if order.call in IS_IO or is_global:
            assert not self.stage.service.locks.excludes(ticket.session), "it is locked out"

    def safe_message_is_sent_once(self, order, safe):
        """Of those of one demand each one in its turn; again only if the process that had it died before it began."""
        mine = [(number, message, child) for demand, number, message, child in self.safe_orders if demand is safe.sent]
        assert safe.is_due
        assert order.data == SAFE[len(safe.sent)] + b"\n"
        for number, message, child in mine:
            if message == order.data:
                assert not child.is_alive
                assert number not in self.doubtful
                # One that was wedged had SIGKILL already: what this one here begins behind that no process could.
                is_wedged = bool(self.stage.house.audit.of("wedged", pid=child.pid))
                has_begun = child.signs.of(number)[0] >= Step.STARTED and not is_wedged
                assert number in self.without_effect or not has_begun
        self.safe_orders.append((safe.sent, order.ticket, order.data, self.child()))

    def go_well(self):
        """Somebody has it open on a healthy process, if nothing is in the way."""
        self.open(0)
        self.stage.warm()
        if self.is_asked(pipe.Open) and self.stage.state is State.OPENING:
            self.child().opens(self.is_marked, can_abort=self.is_marked)

    # What clients do. A closed resource is made anew by the front at the next open.

    @rule(which=several)
    def open(self, which):
        if self.stage.resource in self.stage.forgotten:
            self.stage.resource = self.stage.new_resource()
            self.watch_locks()
        if which >= len(self.clients):
            self.clients.append(self.stage.client())
        client = self.clients[which % len(self.clients)]
        self.opens.append(self.stage.asks_to_open(client))

    def sessions(self):
        """Those that are open, in the order in which they were asked for: a history must be repeatable."""
        given = [opening.result() for opening in self.opens if is_given(opening)]
        return [session for session in given if session in session.client.sessions]

    @precondition(lambda self: self.sessions())
    @rule(which=several, command=st.sampled_from(sorted(COMMANDS)), depends=st.booleans())
    def submit(self, which, command, depends):
        session = self.session(which)
        call, fields = COMMANDS[command]
        mine = [answers.ticket for answers in self.answers if answers.ticket.session is session]
        after = mine[-1] if depends and mine and call == "read" and mine[-1].call == "write" else None
        self.answers.append(self.stage.submit(session, call, after=after, **fields))

    @precondition(lambda self: self.sessions())
    @rule(which=several, has_termchar=st.booleans())
    def set_termination(self, which, has_termchar):
        self.stage.sets(self.session(which), VI_ATTR_TERMCHAR_EN, has_termchar)

    @precondition(lambda self: self.answers)
    @rule(which=several)
    def abandon(self, which):
        self.stage.service.abandon(self.answers[-1 - which % len(self.answers)].ticket)

    @precondition(lambda self: self.sessions())
    @rule(
        which=several,
        kind=st.sampled_from(LockKind),
        timeout_s=st.sampled_from([0.0, 0.0, 1.0, None]),
        ttl_s=st.sampled_from([None, None, 3.0]),
    )
    def lock(self, which, kind, timeout_s, ttl_s):
        key, terms = "ours" if kind is LockKind.SHARED else None, Terms(ttl_s)
        session = self.session(which)
        self.locks.append(self.stage.start(session.resource.lock(session, kind, key, timeout_s, terms)))

    @precondition(lambda self: self.sessions())
    @rule(which=several, kind=st.sampled_from(LockKind))
    def lock_and_lose(self, which, kind):
        """By force; what is lost by time is left to that."""
        self.lock(which, kind, 0.0, 3.0)
        self.stage.service.locks.force(self.stage.client())
        self.stage.run()

    def lock_is_lost(self, session, why):
        """By whatever way; not yet known to anybody."""
        service = self.stage.service
        if session in self.stage.resource.sessions:
            self.losers.add(session)
            is_used = service._is_at_work(session)
            assert not (is_used and "not used" in why), "it is in use"
        self.on_lost(session, why)
        assert not self.stage.house.settings.safe_state or service.safe.is_due or session not in self.losers

    @precondition(lambda self: self.sessions())
    @rule(which=several)
    def unlock(self, which):
        self.stage.service.locks.unlock(self.session(which))
        self.stage.run()

    @precondition(lambda self: self.locks)
    @rule(which=several)
    def abandon_lock(self, which):
        self.locks[-1 - which % len(self.locks)].cancel()
        self.stage.run()

    @precondition(lambda self: self.sessions())
    @rule(which=several, is_wanted=st.booleans())
    def listen(self, which, is_wanted):
        outcomes = []
        self.events.append(outcomes)
        events = self.stage.service.events
        (events.enable if is_wanted else events.disable)(self.session(which), SERVICE_REQUEST, outcomes.append)
        self.stage.run()

    @rule()
    def abort(self):
        ticket = self.stage.service._running
        self.aborts.append((ticket, self.stage.start(self.stage.resource.abort("somebody aborts"))))

    @precondition(lambda self: self.aborts)
    @rule(which=several)
    def whoever_aborts_leaves(self, which):
        self.aborts[-1 - which % len(self.aborts)][1].cancel()
        self.stage.run()

    @rule(does=st.sampled_from(["pause", "resume"]))
    def client_is_slow(self, does):
        getattr(self.stage.service, does)()

    def session(self, which):
        return self.sessions()[which % len(self.sessions())]

    @precondition(lambda self: self.sessions())
    @rule(which=several)
    def close(self, which):
        session = self.session(which)
        session.resource.drop_session(session)
        self.answers.append(self.stage.submit(session))
        assert self.answers[-1].said == "NO_RESOURCE none"

    @precondition(lambda self: self.clients)
    @rule(which=several)
    def leave(self, which):
        client = self.clients.pop(which % len(self.clients))
        has_lock = any(session.resource.service.locks.has_any(session) for session in client.sessions)
        for session in tuple(client.sessions):
            session.client.gone = "its connection is gone"
            session.resource.drop_session(session)
        if has_lock and self.stage.house.settings.safe_state:
            assert self.stage.service.safe.reason
        self.stage.resource.abandon_opens(client)
        self.stage.run()

    @rule(waits=st.booleans())
    def make_safe(self, waits):
        if waits:
            self.safe.append(self.stage.start(self.stage.resource.make_safe("somebody said so")))
        else:
            self.stage.service.make_safe("a lock was forced")
            self.stage.run()

    @rule()
    def forget_safety(self):
        self.stage.resource.forget_safety(failed("COMMAND_ABORTED"))
        self.stage.run()

    # What time does.

    @rule(seconds=st.sampled_from([0.01, 0.01, 0.5, 0.5, 1.1, 2.1, 4.1, 5.1, 15.1, 61, 121, 301]))
    def pass_time(self, seconds):
        self.stage.pass_time(seconds)

    @precondition(lambda self: self.stage.awaits_child)
    @rule()
    def child_is_warm(self):
        self.stage.warm()

    @precondition(lambda self: self.stage.state in (State.CLOSED, State.STARTING, State.OPENING))
    @rule()
    def all_goes_well(self):
        self.go_well()

    # What the child does, also after it was told to die.

    def living(self):
        return [child for child in self.stage.children if child.is_alive]

    def child(self):
        return self.stage.resource.keeper.child

    def is_asked(self, *kinds):
        return self.child() is not None and self.child().orders and isinstance(self.child().order, kinds)

    @precondition(lambda self: self.is_asked(pipe.Open))
    @rule(ends=st.booleans(), can_abort=st.booleans())
    def child_opens(self, ends, can_abort):
        self.child().opens(ends, can_abort)

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(step=st.sampled_from(["starts", "writes"]))
    def child_goes_on(self, step):
        getattr(self.child(), step)()

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(status=st.sampled_from([0, 0x3FFF0005, 0x3FFF0006]), stb=st.sampled_from([0, RQS]))
    def child_succeeds(self, status, stb):
        self.child().does(b"answer\n", status=status, value=stb)

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(token=st.sampled_from(FAILURES), effect=st.sampled_from(Effect), dirty=st.booleans())
    def child_fails(self, token, effect, dirty):
        if effect is Effect.NONE and self.stage.state is State.BUSY:
            self.without_effect.add(self.child().running.ticket)
        self.child().fails(token, effect, dirty=dirty)

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(status=st.sampled_from([0, ERRORS["VI_ERROR_IO"].status]))
    def child_ends_without_a_start(self, status):
        """Attributes that cannot be set."""
        self.child().say(pipe.Done(self.child().running.ticket, status, 0, token="VI_ERROR_IO", text="it failed"))

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule()
    def child_does_all_it_has(self):
        while self.stage.state in (State.BUSY, State.RESYNC):
            self.child().does(b"answer\n", value=0)

    @precondition(lambda self: self.stage.state is State.ABORTING)
    @rule(effect=st.sampled_from(Effect), dirty=st.booleans())
    def child_is_cut_short(self, effect, dirty):
        self.child().fails("VI_ERROR_ABORT", effect, dirty=dirty)

    def condemned(self):
        return [child for child in self.living() if child.is_being_killed or child.is_being_terminated]

    @precondition(lambda self: self.condemned())
    @rule()
    def child_dies_of_its_signal(self):
        self.condemned()[0].dies()

    # What goes wrong, and what operators do about it. One rule, so that it is not all that ever happens.

    @rule(trouble=st.sampled_from(TROUBLES))
    def trouble(self, trouble):
        if isinstance(trouble, pipe.Closed | pipe.Done | pipe.Opened | pipe.Warm):
            if self.child() is not None:
                self.child().say(trouble)
        elif trouble == "restart":
            self.stage.resource.restart()
        elif trouble == "reset":
            self.stage.resource.reset()
        elif trouble == "no process can be started":
            self.stage.fail_to_start()
        elif trouble == "refuses" and self.is_asked(pipe.Open):
            self.child().refuses()
        elif trouble == "babbles" and self.child() is not None:
            if self.child().is_occupied:
                self.doubtful.add(self.child().runs[-1].ticket)
            self.child().babbles()
        elif trouble == "dies" and self.living():
            self.living()[0].dies()
        self.stage.run()

    # What holds after each step.

    @invariant()
    def what_the_front_promises(self):
        self.one_process_at_a_time_has_been_told_to_open()
        self.no_ticket_ends_twice()
        self.state_and_process_agree()
        self.no_process_is_awaited_for_ever()
        self.aborts_end_with_their_ticket()
        self.busy_is_whoever_has_a_command()
        self.what_is_neither_queued_nor_running_has_ended()
        self.what_is_held_up_runs()
        self.what_never_started_had_no_effect()
        self.no_command_went_out_twice_or_before_an_older_one_of_its_session()
        self.refused_opens_had_no_effect()
        self.nobody_is_told_of_a_loss_that_was_none()
        self.nothing_went_wrong_behind_the_scenes()

    def one_process_at_a_time_has_been_told_to_open(self):
        assert sum(child.was_opened and child.is_alive for child in self.stage.children) <= 1

    def no_ticket_ends_twice(self):
        assert all(len(answers.outcomes) <= 1 for answers in self.answers)

    def state_and_process_agree(self):
        keeper = self.stage.resource.keeper
        assert (keeper.child is not None) == (keeper.state in HAVE_CHILD)
        if keeper.child is None:
            return
        assert keeper.child.is_alive
        assert keeper.child.is_being_killed or keeper.state not in (State.KILLING, State.WEDGED)
        assert keeper.child.is_being_terminated or keeper.state is not State.TERMINATING
        if keeper.state is State.ABORTING:
            assert keeper.child.aborts[-1] == self.stage.service._running.number
        elif keeper.state is State.READY:
            assert not keeper.child.is_being_killed

    def no_process_is_awaited_for_ever(self):
        keeper = self.stage.resource.keeper
        assert keeper._deadline is not None or keeper.state not in ARE_BOUNDED

    def aborts_end_with_their_ticket(self):
        for ticket, asked in self.aborts:
            assert asked.done() == (ticket is None or ticket.outcome is not None) or asked.cancelled()

    def busy_is_whoever_has_a_command(self):
        service, state = self.stage.service, self.stage.state
        is_running, has_errand = service._running is not None, service._errands.is_under_way
        assert not (is_running and has_errand)
        assert is_running or has_errand or state not in (State.BUSY, State.ABORTING, State.RESYNC)
        assert not is_running or state in HAVE_COMMAND
        assert not has_errand or state in (State.BUSY, State.RESYNC)

    def what_is_neither_queued_nor_running_has_ended(self):
        """The daemon's own tickets, for events, are among those that wait."""
        service = self.stage.service
        waiting = {ticket for ticket in (*service._queue, service._running) if ticket is not None}
        assert {answers.ticket for answers in self.answers if answers.is_open} <= waiting
        assert all(ticket.outcome is None for ticket in waiting)
        assert all(len(outcomes) <= 1 for outcomes in self.events)

    def what_is_held_up_runs(self):
        """Only what is wedged may stay as it is: nobody waits for its word any more."""
        child, is_running = self.child(), self.stage.service._running is not None
        assert child is None or not child.is_paused or is_running or self.stage.state is State.WEDGED

    def what_never_started_had_no_effect(self):
        for answers in self.answers:
            if answers.outcomes and answers.outcome.failed and not answers.ticket.dispatched_at:
                assert answers.outcome.effect is Effect.NONE

    def no_command_went_out_twice_or_before_an_older_one_of_its_session(self):
        numbers = [run.ticket for child in self.stage.children for run in child.runs if run.ticket]
        if len(self.stage.forgotten) == 0:
            assert len(numbers) == len(set(numbers))
            by_session = {}
            for answers in self.answers:
                by_session.setdefault(answers.ticket.session, []).append(answers.ticket.number)
            for mine in by_session.values():
                sent = [number for number in numbers if number in mine]
                assert sent == sorted(sent)

    def refused_opens_had_no_effect(self):
        for opening in self.opens:
            if opening.done() and not opening.cancelled() and opening.exception() is not None:
                error = opening.exception()
                assert isinstance(error, Failure)
                assert error.effect is Effect.NONE

    def nobody_is_told_of_a_loss_that_was_none(self):
        told = {each.ticket.session for each in self.answers if each.outcomes and each.outcome.token == "LOCK_LOST"}
        assert told <= self.losers
        for session in self.stage.service.locks._locks.lost:
            waiting = [ticket for ticket in self.stage.service._queue if ticket.session is session]
            assert all(ticket.call not in IS_IO for ticket in waiting), "what it has waiting was sent unknowing"

    def nothing_went_wrong_behind_the_scenes(self):
        assert self.stage.faults == []

    # The end: the daemon stops, and every process dies of its kill.

    def teardown(self):
        try:
            self.stage.resource.shut()
            self.stage.warm()
            for _ in range(4):
                self.stage.pass_time(10)
                for child in self.living():
                    child.dies()
            assert all(opening.done() for opening in self.opens), "an open is never answered"
            assert all(len(answers.outcomes) == 1 for answers in self.answers), "a command is never answered"
            assert all(len(outcomes) == 1 for outcomes in self.events), "an event is never answered"
            assert all(lock.done() for lock in self.locks), "a lock is never answered"
            assert all(asked.done() for _, asked in self.aborts), "an abort is never answered"
            assert all(asked.done() for asked in self.safe), "an operator is never answered"
            assert not self.stage.service.safe.is_due
            assert self.stage.service.locks.describe() is None
            assert self.stage.state is State.CLOSED
            assert not self.clients or not self.sessions()
            assert self.stage.forgotten.count(self.stage.resource) <= 1
            assert not self.living()
        finally:
            for opening in (*self.opens, *self.locks, *self.safe, *(asked for _, asked in self.aborts)):
                if opening.done() and not opening.cancelled():
                    opening.exception()
            self.stage.close()
            self.monkeypatch.undo()


Histories.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # explaining a failure takes minutes
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase
