"""A hold on a bench: sessions that write and read, and no instrument."""

from front_proc.serving.attributes import ResourceAttributes
from front_proc.serving.hold import Hold
from front_proc.serving.sessions import VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE, Client, Session
from front_proc.serving.tickets import Outcome, Ticket


class Bench:
    """A hold, and the sessions of some clients on one resource whose library has a timeout of 2 s."""

    def __init__(self, *, marks_end):
        self.hold = Hold(marks_end=marks_end)
        self.attributes = ResourceAttributes()
        self.attributes.opened([(VI_ATTR_TMO_VALUE, 2000), (VI_ATTR_TERMCHAR_EN, False)])

    @property
    def service(self):
        return self

    def session(self, timeout_ms=None, *, has_termchar=False):
        session = Session(Client("10.0.0.1:1"), self)
        self.attributes.set_local(session, VI_ATTR_TERMCHAR_EN, has_termchar)
        if timeout_ms is not None:
            self.attributes.set_local(session, VI_ATTR_TMO_VALUE, timeout_ms)
        return session

    def ticket(self, session, call="query", **fields):
        return Ticket(session, call, lambda _: None, lambda _: None, **fields)

    def writes(self, session, now=0.0, outcome=None, *, answers=0, is_unfinished=False):
        ticket = self.ticket(session, "write", answers=answers, is_unfinished=is_unfinished)
        self.hold.ends_with(ticket, answers > 0)
        self.hold.ended(ticket, outcome or Outcome(), bool(outcome and outcome.failed), now)

    def asks(self, session, now=0.0, answers=1):
        """A write that asks for so many answers."""
        self.writes(session, now, answers=answers)

    def reads(self, session, now=0.0, outcome=None, *, is_dirty=False):
        self.hold.ended(self.ticket(session, "read"), outcome or Outcome(), is_dirty, now)

    def reads_data(self, session, data, status):
        self.reads(session, outcome=Outcome(status, data=data))

    def may_be_served(self, session, call="query"):
        """At once, without emptying the instrument."""
        ticket = self.ticket(session, call)
        is_turn = self.hold.holder in (None, session)
        return is_turn and not self.hold.needs_resync(ticket) and not self.hold.needs_look(ticket)

    def ends_with(self, session, call, *, may_ask):
        return self.hold.ends_with(self.ticket(session, call), may_ask)
