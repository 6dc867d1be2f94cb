"""A VISA library in which one thread may clear the device while another waits for its answer: `@clearing`.

Any TCPIP INSTR resource opens. Every message is noted in the file $STUBBORN_JOURNAL before anything comes of it. A host
name chooses what a clear comes to:

    TCPIP0::any.clearing::inst0::INSTR      it ends the read that waits, which then fails
    TCPIP0::waits.clearing...               it waits for the end of that read, as on a bus that is taken
    TCPIP0::refuses.clearing...             it is not supported

    ECHO? TEXT     answers TEXT             anything else is executed and answers nothing
"""

import json
import os
import threading

from pyvisa import constants, highlevel, rname
from pyvisa.constants import StatusCode
from pyvisa.util import LibraryPath

_INFINITE = constants.VI_TMO_INFINITE


class ClearingLibrary(highlevel.VisaLibraryBase):
    clears_while_waiting = True

    @staticmethod
    def get_library_paths():
        return (LibraryPath("plain"),)

    def _init(self):
        self._attributes = {constants.VI_ATTR_TMO_VALUE: 2000, constants.VI_ATTR_TERMCHAR: 10}
        self._answer = b""
        self._resource = self._host = ""
        self._was_cleared = threading.Event()
        self._reading = threading.Lock()

    def open_default_resource_manager(self):
        return 1, StatusCode.success

    def list_resources(self, session, query="?*::INSTR"):
        return ("TCPIP0::a.clearing::inst0::INSTR",)

    def open(self, session, resource_name, access_mode=0, open_timeout=0):
        self._resource = resource_name
        self._host = rname.ResourceName.from_string(resource_name).host_address.partition(".")[0]
        return 2, StatusCode.success

    def close(self, session):
        return StatusCode.success

    def write(self, session, data):
        message = data.strip()
        line = json.dumps({"resource": self._resource, "message": message.decode("latin-1")})
        with open(os.environ["STUBBORN_JOURNAL"], "a") as journal:
            journal.write(line + "\n")
        word, _, text = message.partition(b" ")
        self._answer = text + b"\n" if word == b"ECHO?" else b""
        return len(data), StatusCode.success

    def read(self, session, count):
        with self._reading:
            self._was_cleared.clear()
            if not self._answer:
                return b"", self._wait()
            answer, self._answer = self._answer[:count], self._answer[count:]
            return answer, StatusCode.success_max_count_read if self._answer else StatusCode.success

    def _wait(self):
        timeout_ms = self._attributes[constants.VI_ATTR_TMO_VALUE]
        seconds = None if timeout_ms == _INFINITE else timeout_ms / 1000
        return StatusCode.error_io if self._was_cleared.wait(seconds) else StatusCode.error_timeout

    def clear(self, session):
        if self._host == "refuses":
            return StatusCode.error_nonsupported_operation
        if self._host == "waits":
            with self._reading:
                pass
        self._answer = b""
        self._was_cleared.set()
        return StatusCode.success

    def get_attribute(self, session, attribute):
        if attribute in self._attributes:
            return self._attributes[attribute], StatusCode.success
        return None, StatusCode.error_nonsupported_attribute

    def set_attribute(self, session, attribute, attribute_state):
        self._attributes[attribute] = attribute_state
        return StatusCode.success


WRAPPER_CLASS = ClearingLibrary
