"""The VISA attributes of one resource: what its library has, what is set in the child, what each session wants.

Pure. Runs in the front. Local attributes (VPP-4.3: timeout, termination character, ...) are each session's own and are
set in the child before a command of that session when they differ; global ones (baud rate, ...) belong to the resource
and are set again when a new process opens it.
"""

from front_proc.serving.sessions import Session
from instrument_proc.pipe import Attributes, State


class ResourceAttributes:
    """Of one resource, over all processes that open it."""

    def __init__(self) -> None:
        #: The local attributes that the library has, as they are after viOpen.
        self.defaults: dict[int, State] = {}
        self._global: dict[int, State] = {}
        self._in_child: dict[int, State] = {}
        self._complete_for: Session | None = None
        #: Those that were ever set: only they can be other than viOpen left them.
        self._touched: set[int] = set()

    @property
    def to_restore(self) -> Attributes:
        """The global attributes, in the order in which they were last set."""
        return list(self._global.items())

    def opened(self, local: Attributes) -> None:
        """A new process has opened the resource; these are its local attributes."""
        self.defaults = dict(local)
        self._in_child = dict(local)
        self._complete_for = None

    def set_local(self, session: Session, attribute: int, state: State) -> None:
        """`session` wants this from its next command on, if the library has such an attribute."""
        if attribute in self.defaults:
            session.attributes[attribute] = state
            if self._complete_for is session:
                self._complete_for = None

    def changes(self, session: Session) -> Attributes:
        """What must be set so that the child's session is as this one wants it; taken for set from now on."""
        if self._complete_for is session:
            return []
        changes = self.changes_to(self.defaults | session.attributes)
        self._complete_for = session
        return changes

    def changes_to(self, wanted: dict[int, State]) -> Attributes:
        """The same for the daemon itself, which wants these and does not care for the others."""
        known = [(number, state) for number, state in wanted.items() if number in self.defaults]
        changes = [(number, state) for number, state in known if self._in_child.get(number) != state]
        self._in_child.update(changes)
        self._touched.update(number for number, _ in changes)
        self._complete_for = None
        return changes

    def were_set(self, session: Session, attribute: int, state: State) -> None:
        """viSetAttribute succeeded for `session`."""
        if attribute in self.defaults:
            session.attributes[attribute] = state
            self._in_child[attribute] = state
        else:
            self._global.pop(attribute, None)
            self._global[attribute] = state

    def are_unknown(self) -> None:
        """Setting them failed half way: set again, before the next command, what may be other than wanted."""
        for number in self._touched:
            self._in_child.pop(number, None)
        self._complete_for = None
