"""The safe state of one resource with its clock, its waiters, its errands and its record.

Runs in the front, one for each resource. What is due is decided by `safe_state`; that it comes before everybody's
commands, and what has to be cleared away first, by the `service`; here it is sent. Where the instrument cannot be
reached, somebody has to try: nobody may come who has a command for it.
"""

import asyncio

from front_proc.configuration.resource_settings import EffectiveSettings
from front_proc.house import House
from front_proc.process.keeper import Keeper
from front_proc.process.lifecycle import DORMANT
from front_proc.serving.attributes import ResourceAttributes
from front_proc.serving.errands import LOST, Errands
from front_proc.serving.hold import Hold
from front_proc.serving.safe_state import SafeState, Sent
from front_proc.serving.sessions import VI_ATTR_SEND_END_EN, VI_ATTR_TMO_VALUE
from front_proc.serving.tickets import Outcome, failed
from instrument_proc import pipe
from instrument_proc.signs import Step
from pyvisa_daemon.errors import Effect

#: Seconds until what is dormant is tried again for the first time; they double up to the longest back-off.
FIRST_TRY = 1.0


class SafeService(SafeState):
    """`is_due` means that nobody's command is to be served before `send` was called often enough."""

    def __init__(
        self,
        name: str,
        house: House,
        settings: EffectiveSettings,
        keeper: Keeper,
        errands: Errands,
        attributes: ResourceAttributes,
    ) -> None:
        super().__init__(settings.safe_state)
        self._name = name
        self._house = house
        self._settings = settings
        self._keeper = keeper
        self._errands = errands
        self._attributes = attributes
        self._loop = asyncio.get_running_loop()
        self._number = 0
        #: Its process cannot be believed, so the message may have got through.
        self._is_doubtful = False
        self._waiters: list[asyncio.Future[Outcome]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._next_try = FIRST_TRY

    def demand(self, reason: str) -> bool:
        is_new = super().demand(reason)
        if is_new and self._keeper.state in DORMANT:
            self._next_try = FIRST_TRY
            self._try_in(0.0)
        return is_new

    async def whole(self) -> None:
        """Return when nothing is due any more. Raises Failure if a message failed, or cannot be sent for now."""
        outcome = self.outcome
        if self.is_due or self.is_under_way:
            ended: asyncio.Future[Outcome] = self._loop.create_future()
            self._waiters.append(ended)
            outcome = await ended
        outcome.checked()

    def send(self, number: int, hold: Hold) -> None:
        """The next message goes to the process, which is ready, as the order with this number."""
        message, self._number, self._is_doubtful = self.begin(), number, False
        limit_ms = round(self._house.limits.safe_time * 1000)
        # Whatever a session has set: its messages may not end, and its timeout be infinite.
        changes = self._attributes.changes_to({VI_ATTR_TMO_VALUE: limit_ms, VI_ATTR_SEND_END_EN: True})
        data = message + self._settings.termination[1]

        def done(report: pipe.Done) -> None:
            if report.status < 0:
                self._attributes.are_unknown()
            else:
                self._keeper.succeeded()
            if report.dirty:
                hold.give_up()
            else:
                hold.owes(self._settings.hold.answers(data, 0))
            outcome = Outcome(report.status, token=report.token, effect=report.effect, text=report.text)
            self._ended(outcome, is_alive=report.status != LOST)

        self._errands.make_safe(number, data, changes, self._house.limits.safe_time, done)

    def distrust(self) -> None:
        """What the process says from here on is no proof."""
        self._is_doubtful = True

    def process_died(self, token: str, text: str) -> None:
        """With the message under way, if there is one."""
        if self.is_under_way:
            may_have_acted = self._is_doubtful or self._keeper.step_of(self._number)[0] >= Step.STARTED
            effect = Effect.MAYBE if may_have_acted else Effect.NONE
            self._ended(failed(token, f"{self._name}: {text}", effect), is_alive=False)

    def _ended(self, outcome: Outcome, *, is_alive: bool) -> None:
        sent = self.ended(outcome, is_alive=is_alive)
        if sent is not None:
            self._record(sent)
        if not self.is_due:
            self._next_try = FIRST_TRY
            self._tell(self.outcome)

    def refused(self, refusal: Outcome) -> None:
        """The process is gone. If none follows by itself those who wait are told, and it is tried again later."""
        if self._keeper.state not in DORMANT:
            return
        told = f"{refusal.text}; the safe state stays due, and is sent as soon as the instrument is back"
        effect = Effect.MAYBE if self.is_partly_sent else Effect.NONE
        self._tell(Outcome(refusal.status, token=refusal.token, effect=effect, text=told))
        self._try_in(self._next_try)
        self._next_try = min(2 * self._next_try, self._house.limits.longest_backoff)

    def _try_in(self, seconds: float) -> None:
        self.stop_waiting()
        self._timer = self._loop.call_later(seconds, self._try)

    def _try(self) -> None:
        self._timer = None
        if not self.is_due or self._keeper.state not in DORMANT:
            return
        if self._keeper.may_wake():
            self._keeper.wake()
        else:
            self._try_in(self._next_try)

    def forget(self, outcome: Outcome) -> bool:
        """What is due is not sent any more, and that is on record; False if nothing was."""
        given_up = self.give_up(outcome)
        for sent in given_up:
            self._record(sent)
        if not self.is_under_way:
            self._tell(self.outcome)
        return bool(given_up)

    def stop_waiting(self) -> None:
        """No clock brings anything about from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, outcome: Outcome) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(outcome)

    def _record(self, sent: Sent) -> None:
        generation = self._keeper.generation
        self._house.audit.record(
            "safe", resource=self._name, generation=generation, reason=self.reason, **sent.describe()
        )
