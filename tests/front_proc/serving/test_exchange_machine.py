"""Several sessions, one instrument: whatever they do, nobody is given an answer that another has asked for.

The real Resource and Service under random histories, with a child that does as it is told by an instrument with one
input, one output, and answers that may come late. What a session says and is answered has its letter in every byte.
Somebody aborts now and then: a device clear cuts the command short, or its process is killed and a new one opens.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.lifecycle import State
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_SEND_END_EN, VI_ATTR_TERMCHAR_EN
from instrument_proc import pipe
from pyvisa_daemon.errors import ERRORS, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Effect
from tests.front_proc import playbook
from tests.front_proc.playbook import DEFAULTS, Answers, Stage

LETTERS = b"abc"
TIMED_OUT = ERRORS["VI_ERROR_TMO"].status

NAMES = {"bus": "GPIB0::8::INSTR", "socket": "TCPIP0::10.0.0.1::5025::SOCKET", "serial": "ASRL1::INSTR"}

#: What a session writes, with its letter for x.
MESSAGES = {"question": b"x?\n", "two questions": b"x?\nx?\n", "statement": b"xx\n", "rest": b"\n"}

several = st.integers(0, len(LETTERS) - 1)


class TimedOutError(Exception):
    """Nothing comes in time; `data` is what had come."""


class Instrument:
    """`kind`: a bus that marks the END and has a device clear; a socket, which can only be reopened; a serial line,
    where nothing helps but waiting, though a clear ends a read. (Half a message is taken back by any of these, which is
    too kind to a serial line.)
    """

    def __init__(self, kind):
        self._kind = kind
        self._input = b""
        self._output, self._late = [], []
        self._attributes = dict(DEFAULTS)
        #: Somebody asked anew behind the rest of an answer that was read in part.
        self._is_mixed_up = False
        self._has_rest = False
        self.answers_late = False

    @property
    def marks_end(self):
        return self._kind == "bus"

    @property
    def can_abort(self):
        return self._kind != "socket"

    def says_what_was_late(self):
        self._output += self._late
        self._late = []

    def does(self, order):
        """The status, the data and the value. Raises TimedOutError."""
        self._attributes.update(order.attributes)
        call = getattr(self, order.call, None)
        return call(order) if call is not None else (0, b"", 0)

    def set_attribute(self, order):
        self._attributes[order.arguments[0]] = order.arguments[1]
        return 0, b"", None

    def write(self, order):
        self._input += order.data
        if self.marks_end and self._attributes[VI_ATTR_SEND_END_EN] and not self._input.endswith(b"\n"):
            self._input += b"\n"
        *messages, self._input = self._input.split(b"\n")
        for message in messages:
            self._obey(message)
        return 0, b"", len(order.data)

    def _obey(self, message):
        assert len(set(message) & set(LETTERS)) <= 1, "two messages became one"
        if self.marks_end:
            self._output, self._late = [], []  # interrupted
        if b"?" in message:
            self._is_mixed_up |= self._has_rest
            answers = self._late if self.answers_late and not self._is_mixed_up else self._output
            answers.append(message[:1] * 3 + b"\n")

    def read(self, order):
        return (*self._read(order.arguments[0]), None)

    def read_message(self, order):
        """To END or the termination character; there are no blocks here."""
        return (*self._read(1000), None)

    read_ahead = read_message

    def query(self, order):
        self.write(order)
        return self.read_message(order)

    def _read(self, count):
        if not self._output:
            raise TimedOutError
        answer = self._output[0]
        to_character = self._attributes[VI_ATTR_TERMCHAR_EN]
        data, rest = answer[:count], answer[count:]
        self._output[:1] = [rest] if rest else []
        self._has_rest = bool(rest)
        if rest:
            return VI_SUCCESS_MAX_CNT, data
        if to_character:
            return VI_SUCCESS_TERM_CHAR, data
        if self.marks_end:
            return 0, data
        if len(data) == count:
            return VI_SUCCESS_MAX_CNT, data
        raise TimedOutError  # it waits for more, and what it has is lost

    def clear(self, order):
        self._input, self._output, self._has_rest = b"", [], False
        if self._kind != "serial":
            self._late = []
        return 0, b"", None

    def is_reopened(self, attributes):
        """By a new process. It knows nothing of processes; but a connection is a line of its own."""
        self._attributes = dict(DEFAULTS) | dict(attributes)
        if self._kind == "socket":
            self._input, self._output, self._late = b"", [], []
            self._has_rest = self._is_mixed_up = False

    def resynchronise(self, order):
        self._input, self._output, self._has_rest = b"", [], False
        self._late = self._late[order.arguments[0] :] if self._kind == "serial" else []
        self._is_mixed_up = False
        return 0, b"", None


class Exchanges(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.monkeypatch = pytest.MonkeyPatch()
        self.stage = Stage(self.monkeypatch)
        self.stage.house.linger = 1e9
        self.instrument = None
        self.sessions = []
        self.answers: list[Answers] = []
        self.locks = []
        self.aborts = []
        self.stage.on_run = self.is_served

    @initialize(kind=st.sampled_from(["bus", "bus", "socket", "serial"]), has_termination=st.booleans())
    def begin(self, kind, has_termination):
        self.monkeypatch.setattr(playbook, "NAME", NAMES[kind])
        self.stage.resource = self.stage.new_resource()
        self.instrument = Instrument(kind)
        self.sessions = [self.opened() for _ in LETTERS]
        for session in self.sessions:
            self.stage.sets(session, VI_ATTR_TERMCHAR_EN, has_termination)

    def opened(self):
        return self.stage.opened(ends=self.instrument.marks_end, can_abort=self.instrument.can_abort)

    def is_served(self, order):
        """An order goes to the child."""
        running = self.stage.service._running
        if order.ticket and order.call != "set_attribute":
            assert not self.stage.service.locks.excludes(running.session), "it is locked out"

    # What sessions do.

    def submit(self, which, call, **fields):
        self.answers.append(self.stage.submit(self.sessions[which], call, **fields))

    def in_letters_of(self, which, message):
        return message.replace(b"x", LETTERS[which : which + 1])

    @rule(which=several, message=st.sampled_from(sorted(MESSAGES)))
    def write(self, which, message):
        self.submit(which, "write", data=self.in_letters_of(which, MESSAGES[message]))

    @rule(which=several, message=st.sampled_from([b"x", b"x?"]))
    def write_part(self, which, message):
        """Without LF, and without END where there is one."""
        self.submit(which, "set_attribute", arguments=[VI_ATTR_SEND_END_EN, False])
        self.submit(which, "write", data=self.in_letters_of(which, message))
        self.submit(which, "set_attribute", arguments=[VI_ATTR_SEND_END_EN, True])

    @rule(which=several, count=st.sampled_from([1, 2, 4, 1000]))
    def read(self, which, count):
        self.submit(which, "read", arguments=[count])

    @rule(which=several)
    def query(self, which):
        self.submit(which, "query", data=self.in_letters_of(which, b"x?\n"))

    @rule(which=several, call=st.sampled_from(["read_message", "clear", "read_stb"]))
    def do(self, which, call):
        self.submit(which, call)

    @rule(which=several, is_on=st.booleans())
    def set_termination(self, which, is_on):
        self.submit(which, "set_attribute", arguments=[VI_ATTR_TERMCHAR_EN, is_on])

    @rule(which=several)
    def close_and_open(self, which):
        self.stage.resource.drop_session(self.sessions[which])
        self.sessions[which] = self.opened()

    @rule(which=several, kind=st.sampled_from(LockKind), timeout_s=st.sampled_from([0.0, 3.0]))
    def lock(self, which, kind, timeout_s):
        key = "ours" if kind is LockKind.SHARED else None
        self.locks.append(self.stage.start(self.stage.resource.lock(self.sessions[which], kind, key, timeout_s)))

    @rule(which=several)
    def unlock(self, which):
        self.stage.service.locks.unlock(self.sessions[which])
        self.stage.run()

    @rule(end=st.sampled_from(["cut short", "cut short", "of no use", "later"]), is_executed=st.booleans())
    def abort(self, end, is_executed):
        asked = self.stage.start(self.stage.resource.abort("somebody aborts"))
        self.aborts.append(asked)
        assert asked.done() == (self.stage.service._running is None)
        if self.stage.state is State.KILLING:
            self.process_is_killed(is_executed)
        elif self.stage.state is State.ABORTING and end == "cut short":
            self.device_clear_cuts_it_short(is_executed)
        elif self.stage.state is State.ABORTING and end == "of no use":
            self.device_clear_is_of_no_use(is_executed)

    # What the child and its instrument do.

    def is_asked(self):
        return self.stage.state in (State.BUSY, State.ABORTING, State.RESYNC)

    def executes_what_it_was_sent(self):
        """Of the command that is with the child: what it writes, and no more."""
        order = self.stage.child.running
        self.stage.child.starts()
        if order.call in ("write", "query"):
            self.instrument.does(pipe.Run(0, "write", [], order.attributes, order.data))

    @precondition(lambda self: self.stage.state is State.ABORTING)
    @rule(is_executed=st.booleans())
    def device_clear_cuts_it_short(self, is_executed):
        if is_executed:
            self.executes_what_it_was_sent()
        self.instrument.clear(None)
        self.stage.child.fails("VI_ERROR_ABORT", Effect.MAYBE, dirty=not self.instrument.marks_end)

    @precondition(lambda self: self.stage.state is State.ABORTING)
    @rule(is_executed=st.booleans())
    def device_clear_is_of_no_use(self, is_executed):
        self.stage.pass_time(LIMITS.abort_time + 0.1)
        self.process_is_killed(is_executed)

    def process_is_killed(self, is_executed):
        assert self.stage.state is State.KILLING
        if is_executed:
            self.executes_what_it_was_sent()
        self.stage.child.dies()
        assert self.stage.state is State.OPENING
        self.instrument.is_reopened(self.stage.child.order.attributes)
        self.stage.child.opens(self.instrument.marks_end, self.instrument.can_abort)

    @rule(is_late=st.booleans())
    def instrument_is_slow(self, is_late):
        """For as long as it stays so, its answers come later than anybody waits for them."""
        self.instrument.answers_late = is_late

    @rule()
    def late_answers_come(self):
        self.instrument.says_what_was_late()

    @precondition(lambda self: self.is_asked())
    @rule(in_pieces=st.booleans())
    def child_does_one(self, in_pieces):
        child = self.stage.child
        try:
            status, data, value = self.instrument.does(child.running)
        except TimedOutError:
            child.fails("VI_ERROR_TMO", dirty=True)
            return
        child.starts()
        if in_pieces and len(data) > 1 and child.running.call != "read_ahead":
            child.gives(data[:1])
            data = data[1:]
        child.say(pipe.Done(child.running.ticket, status, value, data))

    @precondition(lambda self: self.is_asked())
    @rule()
    def child_does_all(self):
        while self.is_asked():
            self.child_does_one(in_pieces=False)

    @precondition(lambda self: self.is_asked() and self.stage.child.running.call in ("write", "query"))
    @rule(size=st.integers(0, 3))
    def write_fails_half_way(self, size):
        """Nobody knows how much of it arrived."""
        order = self.stage.child.running
        part = pipe.Run(0, "write", [], order.attributes, order.data[:size])
        self.instrument.does(part)
        self.stage.child.fails("VI_ERROR_IO", Effect.MAYBE, dirty=True)

    @precondition(lambda self: self.is_asked() and self.stage.child.running.call == "read_stb")
    @rule()
    def library_has_no_such_function(self):
        self.stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)

    @precondition(lambda self: not self.is_asked())
    @rule(seconds=st.sampled_from([0.5, 3, 3, 70]))
    def time_passes(self, seconds):
        """Until the child is asked for something: it does not hang."""
        end = self.stage.loop.time() + seconds
        while self.stage.loop.time() < end and not self.is_asked():
            self.stage.pass_time(0.5)

    # What holds after each step.

    @invariant()
    def nobody_is_given_the_answer_of_another(self):
        for answers in self.answers:
            said = set(b"".join([*answers.pieces, *(outcome.data for outcome in answers.outcomes)])) & set(LETTERS)
            own = {byte for byte in answers.ticket.data if byte in LETTERS} or said
            assert said <= own
            assert said <= self.letter_of(answers.ticket.session)

    def letter_of(self, session):
        """Also of one that is closed: its client's others have the same."""
        asked = {byte for answers in self.answers if answers.ticket.session is session for byte in answers.ticket.data}
        return asked & set(LETTERS)

    @invariant()
    def nothing_went_wrong_behind_the_scenes(self):
        assert self.stage.faults == []
        assert self.stage.house.faults == []
        assert sum(child.is_alive for child in self.stage.children) <= 1
        assert all(len(answers.outcomes) <= 1 for answers in self.answers)

    def teardown(self):
        try:
            if self.instrument is None:
                return
            while self.stage.service.locks.describe() is not None:
                for session in self.sessions:
                    self.stage.service.locks.unlock(session)
            while self.is_asked() or self.stage.service.queued:
                if self.is_asked():
                    self.child_does_one(in_pieces=False)
                else:
                    self.stage.pass_time(1)
            self.stage.pass_time(10)
            assert all(len(answers.outcomes) == 1 for answers in self.answers), "a command is never answered"
            has_starved = any(answers.said.startswith("QUEUE_TIMEOUT") for answers in self.answers)
            assert self.locks or not has_starved, "nobody may keep the instrument for so long without a lock"
            assert all(lock.done() for lock in self.locks)
            assert all(asked.done() for asked in self.aborts)
        finally:
            for lock in self.locks:
                if lock.done():
                    lock.exception()
            self.stage.close()
            self.monkeypatch.undo()


Exchanges.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # explaining a failure takes minutes
    suppress_health_check=list(HealthCheck),
)
TestExchanges = Exchanges.TestCase
