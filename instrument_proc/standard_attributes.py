"""Attributes that VPP-4.3 gives every message-based session, for VISA libraries that do not know them.

Pure. Runs in the child, one for each VISA session. They are kept here and change nothing below: an attribute is in
this table only if all that a library would do with it happens elsewhere, or is what it does anyhow.
"""

from pyvisa.constants import IOProtocol, ResourceAttribute, StatusCode

#: attribute -> the states that it may have; the first is the one that it begins with.
_STATES: dict[int, tuple[int, ...]] = {
    ResourceAttribute.io_prot: (IOProtocol.normal,),  # no library here speaks another one than the interface's own
    ResourceAttribute.file_append_enabled: (False, True),  # the file of viReadToFile is the program's own
}


class StandardAttributes:
    """Their states in one session."""

    def __init__(self) -> None:
        self._states = {number: states[0] for number, states in _STATES.items()}

    def __contains__(self, attribute: int) -> bool:
        return attribute in self._states

    def get(self, attribute: int) -> int:
        """The state. Raises KeyError for one that is not in the table."""
        return self._states[attribute]

    def set(self, attribute: int, state: object) -> StatusCode:
        """viSetAttribute: VI_SUCCESS, or VI_ERROR_NSUP_ATTR_STATE."""
        for allowed in _STATES[attribute]:
            if allowed == state:
                self._states[attribute] = allowed
                return StatusCode.success
        return StatusCode.error_nonsupported_attribute_state
