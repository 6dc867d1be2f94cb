"""A VISA library for tests, `@hangs`: one instrument, and calls that hold the GIL in C for ever.

Not a package of tests: its folder is put on the path, where PyVISA finds it by its name. The resource says what hangs:
`GPIB0::1::INSTR` reads without end, `GPIB0::2::INSTR` opens without end, `GPIB0::3::INSTR` closes without end.
"""

import ctypes

from pyvisa import constants, highlevel
from pyvisa.util import LibraryPath


def hang_in_c():
    """Lock a mutex twice, through PyDLL: the GIL is held, no handler of a signal ever runs."""
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    lock(mutex)
    lock(mutex)


class HangingLibrary(highlevel.VisaLibraryBase):
    @staticmethod
    def get_library_paths():
        return (LibraryPath("unset"),)

    def _init(self):
        self._names = {}

    def open_default_resource_manager(self):
        return 1, constants.StatusCode.success

    def list_resources(self, session, query="?*::INSTR"):
        return ("GPIB0::1::INSTR",)

    def open(self, session, resource_name, access_mode=constants.AccessModes.no_lock, open_timeout=0):
        if resource_name.startswith("GPIB0::2"):
            hang_in_c()
        self._names[2] = resource_name
        return 2, constants.StatusCode.success

    def close(self, session):
        if self._names.get(session, "").startswith("GPIB0::3"):
            hang_in_c()
        return constants.StatusCode.success

    def write(self, session, data):
        return len(data), constants.StatusCode.success

    def read(self, session, count):
        hang_in_c()

    def get_attribute(self, session, attribute):
        return 0, constants.StatusCode.error_nonsupported_attribute

    def set_attribute(self, session, attribute, attribute_state):
        return constants.StatusCode.success


WRAPPER_CLASS = HangingLibrary
