"""Whatever happens, in whatever order: the real Resource and Keeper under random histories.

Clients open, send, close and leave; the child starts, answers, fails, hangs, sends garbage and dies; operators restart
and reset; time passes. After each step, and at the end, what the front promises must hold.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from front_proc.lifecycle import State
from instrument_proc import pipe
from pyvisa_daemon.errors import ERRORS, Effect, Failure
from tests.front_proc.playbook import Answers, Stage

HAVE_CHILD = {State.OPENING, State.READY, State.BUSY, State.RESYNC, State.KILLING, State.WEDGED, State.CLOSING}

#: What a command may be: the call, and what the queue must know of it.
CALLS = {
    "query": {},
    "write": {"holds": True},
    "read": {"continues": True},
    "clear": {},
    "set_attribute": {"arguments": [0x3FFF001A, 3000]},
}
FAILURES = ["VI_ERROR_TMO", "VI_ERROR_IO", "VI_ERROR_CONN_LOST", "VI_ERROR_NSUP_OPER"]

#: What a child may do wrong at any time (reports are those that it was not asked for), and operators' words.
TROUBLES = [
    *["refuses", "babbles", "dies", "dies", "no process can be started", "restart", "reset"],
    *[pipe.Done(0, 0), pipe.Done(1, 0), pipe.Started(1), pipe.Opened(0, "", "", False, []), pipe.Closed(), pipe.Warm()],
]

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
        self.dispatched: set[tuple[int, int]] = set()

    @initialize(linger=st.sampled_from([0.0, 5.0]), is_warm=st.booleans())
    def begin(self, linger, is_warm):
        self.stage.house.linger = linger
        self.go_well()
        self.stage.is_warm = is_warm

    def go_well(self):
        """Somebody has it open on a healthy process, if nothing is in the way."""
        self.open(0)
        self.stage.warm()
        if self.is_asked(pipe.Open) and self.stage.state is State.OPENING:
            self.child().opens()

    # What clients do. A closed resource is made anew by the front at the next open.

    @rule(which=several)
    def open(self, which):
        if self.stage.resource in self.stage.forgotten:
            self.stage.resource = self.stage.new_resource()
        if which >= len(self.clients):
            self.clients.append(self.stage.client())
        client = self.clients[which % len(self.clients)]
        self.opens.append(self.stage.asks_to_open(client))

    def sessions(self):
        """Those that are open, in the order in which they were asked for: a history must be repeatable."""
        given = [opening.result() for opening in self.opens if is_given(opening)]
        return [session for session in given if session in session.client.sessions]

    @precondition(lambda self: self.sessions())
    @rule(which=several, call=st.sampled_from(sorted(CALLS)))
    def submit(self, which, call):
        session = self.sessions()[which % len(self.sessions())]
        self.answers.append(self.stage.submit(session, call, **CALLS[call]))

    @precondition(lambda self: self.sessions())
    @rule(which=several)
    def close(self, which):
        session = self.sessions()[which % len(self.sessions())]
        session.resource.drop_session(session)
        self.answers.append(self.stage.submit(session))
        assert self.answers[-1].said == "NO_RESOURCE none"

    @precondition(lambda self: self.clients)
    @rule(which=several)
    def leave(self, which):
        client = self.clients.pop(which % len(self.clients))
        for session in tuple(client.sessions):
            session.resource.drop_session(session)
        self.stage.resource.abandon_opens(client)
        self.stage.run()

    # What time does.

    @rule(seconds=st.sampled_from([0.01, 0.01, 0.5, 0.5, 1.1, 2.1, 4.1, 5.1, 15.1, 61, 121]))
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
    @rule(ends=st.booleans())
    def child_opens(self, ends):
        self.child().opens(ends)

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(step=st.sampled_from(["starts", "writes"]))
    def child_goes_on(self, step):
        getattr(self.child(), step)()

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(status=st.sampled_from([0, 0x3FFF0006]))
    def child_succeeds(self, status):
        self.child().does(b"answer\n", status=status)

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(token=st.sampled_from(FAILURES), effect=st.sampled_from(Effect), dirty=st.booleans())
    def child_fails(self, token, effect, dirty):
        self.child().fails(token, effect, dirty=dirty)

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule(status=st.sampled_from([0, ERRORS["VI_ERROR_IO"].status]))
    def child_ends_without_a_start(self, status):
        """Attributes that cannot be set."""
        self.child().say(pipe.Done(self.child().running.ticket, status, token="VI_ERROR_IO", text="it failed"))

    @precondition(lambda self: self.is_asked(pipe.Run))
    @rule()
    def child_does_all_it_has(self):
        while self.stage.state in (State.BUSY, State.RESYNC):
            self.child().does(b"answer\n")

    @precondition(lambda self: any(child.is_being_killed for child in self.living()))
    @rule()
    def child_dies_of_its_kill(self):
        next(child for child in self.living() if child.is_being_killed).dies()

    # What goes wrong, and what operators do about it. One rule, so that it is not all that ever happens.

    @rule(trouble=st.sampled_from(TROUBLES))
    def trouble(self, trouble):
        if isinstance(trouble, pipe.Closed | pipe.Done | pipe.Started | pipe.Opened | pipe.Warm):
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
        self.busy_is_whoever_has_a_command()
        self.what_is_neither_queued_nor_running_has_ended()
        self.what_never_started_had_no_effect()
        self.no_command_went_out_twice_or_before_an_older_one_of_its_session()
        self.refused_opens_had_no_effect()
        self.nothing_went_wrong_behind_the_scenes()

    def one_process_at_a_time_has_been_told_to_open(self):
        assert sum(child.was_opened and child.is_alive for child in self.stage.children) <= 1

    def no_ticket_ends_twice(self):
        assert all(len(answers.outcomes) <= 1 for answers in self.answers)

    def state_and_process_agree(self):
        keeper = self.stage.resource.keeper
        assert (keeper.child is not None) == (keeper.state in HAVE_CHILD)
        assert keeper.child is None or keeper.child.is_alive

    def busy_is_whoever_has_a_command(self):
        resource = self.stage.resource
        is_running = resource._running is not None
        assert is_running or resource.keeper.state is not State.BUSY
        assert not is_running or resource.keeper.state in (State.BUSY, State.KILLING), "judged when it is dead"

    def what_is_neither_queued_nor_running_has_ended(self):
        assert sum(answers.is_open for answers in self.answers) == self.stage.resource.queued + (
            self.stage.resource._running is not None
        )

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
            assert self.stage.state is State.CLOSED
            assert not self.clients or not self.sessions()
            assert self.stage.forgotten.count(self.stage.resource) <= 1
            assert not self.living()
        finally:
            for opening in self.opens:
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
