"""The events of one resource: which sessions are told of which, and the one status byte that all of them read.

Pure: the clock is passed in. Runs in the front, one for each resource. An event comes from the instrument's library
where that has events; else service requests are found by polling the status byte, while anybody wants them.

Reading the status byte of IEEE 488.1 takes RQS out of it. Sessions do not know of each other's reading, nor of the
polls, so each finds a request that it has not seen yet in the next byte that it reads.
"""

from front_proc.serving.sessions import Session

#: VI_EVENT_SERVICE_REQ, and the bits of the status byte (IEEE 488.2, 11.2).
SERVICE_REQUEST = 0x3FFF200B
MAV, RQS = 0x10, 0x40


class ResourceEvents:
    """Who has enabled what, and who has not seen the last request. `interval`: seconds between polls, 0 for none."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._subscribers: dict[int, dict[Session, None]] = {}
        #: The event types that the library itself tells of.
        self.native: set[int] = set()
        self.is_polling = False
        self._poll_at = 0.0
        #: What was seen of RQS by the last look while there are polls; it stays set where it is the bit MSS instead.
        self._was_set = False
        #: Everybody who reads the status byte, and those of them who have a request to see.
        self._readers: set[Session] = set()
        self._unseen: set[Session] = set()

    @property
    def can_poll(self) -> bool:
        """Is this resource to be polled if its library has no events?"""
        return self._interval > 0

    def is_enabled(self, event: int) -> bool:
        """Do events of that type arrive already?"""
        return event in self.native or (event == SERVICE_REQUEST and self.is_polling)

    def subscribe(self, session: Session, event: int) -> bool:
        """`session` is told from now on. Is something there already, a request that it has not seen?"""
        is_new = session not in self.subscribers(event)
        self._subscribers.setdefault(event, {})[session] = None
        if event != SERVICE_REQUEST:
            return False
        self._readers.add(session)
        return is_new and session in self._unseen

    def unsubscribe(self, session: Session, event: int) -> bool:
        """It is told no more. Was it the last?"""
        subscribers = self._subscribers.get(event, {})
        subscribers.pop(session, None)
        if subscribers or event not in self._subscribers:
            return False
        del self._subscribers[event]
        self.native.discard(event)
        if event == SERVICE_REQUEST:
            self.is_polling = False
        return True

    def left(self, session: Session) -> None:
        """`session` is closed."""
        for event in tuple(self._subscribers):
            self.unsubscribe(session, event)
        self._readers.discard(session)
        self._unseen.discard(session)

    def subscribers(self, event: int) -> tuple[Session, ...]:
        """Who is to be told of an event of that type."""
        return tuple(self._subscribers.get(event, ()))

    def poll(self, now: float) -> None:
        """There will be polls, the first one at once."""
        if not self.is_polling:
            self.is_polling, self._poll_at, self._was_set = True, now, False

    @property
    def poll_at(self) -> float | None:
        """When the status byte is to be polled next."""
        return self._poll_at if self.is_polling else None

    def polled(self, stb: int | None, now: float) -> tuple[Session, ...]:
        """A poll gave this, or failed. Who is to be told of a service request?"""
        self._poll_at = now + self._interval
        return self._looked(stb) if stb is not None else ()

    def status_byte(self, session: Session, stb: int) -> tuple[int, tuple[Session, ...]]:
        """`session` has read the status byte: what it is for that session, and who is to be told of a request."""
        self._readers.add(session)
        told = self._looked(stb)
        if session in self._unseen:
            stb |= RQS
            self._unseen.discard(session)
        return stb, told

    def _looked(self, stb: int) -> tuple[Session, ...]:
        """Somebody has seen this. Who is to be told of it, as polls tell?"""
        is_set = bool(stb & RQS)
        is_new = is_set and not self._was_set
        self._was_set = is_set and self.is_polling
        if not is_new:
            return ()
        # RQS is gone by now, MSS is not: a second look at once tells which of them this instrument has in bit 6.
        self._poll_at = 0.0
        self._unseen |= self._readers
        return self.subscribers(SERVICE_REQUEST) if self.is_polling else ()
