"""A VISA library that misbehaves on command, in C, with the interpreter's lock held: `--visa-library NAME@stubborn`.

Any TCPIP INSTR resource opens and echoes what is written; a host name chooses what else goes wrong, and so do messages:

    TCPIP0::hangs-in-open::inst0::INSTR     viOpen never returns
    TCPIP0::dies-in-open::inst0::INSTR      viOpen ends the process
    HANG, SEGV, EXIT                        viWrite does that
    hangs-in-list@stubborn                  the library whose viFindRsrc never returns
"""

import ctypes
import os

from pyvisa import constants, highlevel, rname
from pyvisa.constants import StatusCode
from pyvisa.util import LibraryPath


def hang():
    """Never return, and never let go of the interpreter's lock: no signal handler of Python's runs again."""
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    lock(mutex)
    lock(mutex)


class StubbornLibrary(highlevel.VisaLibraryBase):
    @staticmethod
    def get_library_paths():
        return (LibraryPath("plain"),)

    def _init(self):
        self._attributes = {}
        self._answer = b""

    def open_default_resource_manager(self):
        return 1, StatusCode.success

    def list_resources(self, session, query="?*::INSTR"):
        if self.library_path == "hangs-in-list":
            hang()
        return ("TCPIP0::good::inst0::INSTR",)

    def open(self, session, resource_name, access_mode=0, open_timeout=0):
        host = rname.ResourceName.from_string(resource_name).host_address
        if host == "hangs-in-open":
            hang()
        if host == "dies-in-open":
            os._exit(3)
        return 2, StatusCode.success

    def close(self, session):
        return StatusCode.success

    def write(self, session, data):
        match data.strip():
            case b"HANG":
                hang()
            case b"SEGV":
                ctypes.string_at(0)
            case b"EXIT":
                os._exit(0)
        self._answer = data
        return len(data), StatusCode.success

    def read(self, session, count):
        answer, self._answer = self._answer, b""
        return answer, StatusCode.success

    def get_attribute(self, session, attribute):
        default = {constants.VI_ATTR_TMO_VALUE: 2000, constants.VI_ATTR_TERMCHAR: 10, constants.VI_ATTR_TERMCHAR_EN: 0}
        if attribute in self._attributes:
            return self._attributes[attribute], StatusCode.success
        if attribute in default:
            return default[attribute], StatusCode.success
        return None, StatusCode.error_nonsupported_attribute

    def set_attribute(self, session, attribute, attribute_state):
        self._attributes[attribute] = attribute_state
        return StatusCode.success


WRAPPER_CLASS = StubbornLibrary
