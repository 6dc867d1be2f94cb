"""A VISA library that misbehaves on command: `--visa-library NAME@stubborn`.

Any TCPIP INSTR resource opens. A host name chooses what goes wrong there, and so do messages. Every message is noted in
the file $STUBBORN_JOURNAL before anything comes of it: that is what the instrument executed.

    TCPIP0::hangs-in-open.stubborn::inst0::INSTR    viOpen never returns; so does hangs-in-close
    TCPIP0::dies-in-open...                         viOpen ends the process; dies-once only until $STUBBORN_JOURNAL.once
    TCPIP0::hangs-in-set...                         viSetAttribute never returns, after the ones at open
    TCPIP0::stops-in-open...                        viOpen stops the process (SIGSTOP)
    TCPIP0::slow-open...                            viOpen takes 2 s

    ECHO? TEXT     answers TEXT                     SLEEP S        takes S seconds; SLEEP? S answers then
    HANG           in C, with the interpreter's lock held, for ever
    HANG-FREE      in C, without it                 SPIN           a busy loop in Python
    SEGV  ABORT    a signal that ends the process   EXIT N         os._exit(N)
    STOP           SIGSTOP to itself                CLOSE-ALL      closes all descriptors, then HANG-FREE
    RAW HEX        writes these bytes to the front's pipe, and HANG-FREE; RAW-ON HEX goes on working
    FLOOD N        N reports to the front that nobody asked for, then answers nothing; FLOOD-ON goes on working while
                   a thread sends them for ever
    FRAME? N       answers so much at once that the report to the front has N bytes
    STAT PATH      looks a file up: in a filesystem that does not answer, for ever and unkillable
    hangs-in-list@stubborn                          the library whose viFindRsrc never returns
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

from pyvisa import constants, highlevel, rname
from pyvisa.constants import StatusCode
from pyvisa.util import LibraryPath

from instrument_proc import pipe
from pyvisa_daemon.framing import frame

#: Reports of an order that there never was: few enough for one write that the kernel does not cut.
UNASKED = frame(pipe.encode(pipe.Piece(123456, b""))) * 500


def hang(library=ctypes.PyDLL):
    """Never return. With PyDLL the interpreter's lock is never let go of: no signal handler of Python's runs again."""
    lock = library(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    lock(mutex)
    lock(mutex)


def pipe_to_the_front():
    """The descriptor on which this process speaks to the front."""
    gc.unfreeze()  # else what a child began with is not looked at
    found = [thing for thing in gc.get_objects() if isinstance(thing, Connection) and not thing.closed]
    return next(thing.fileno() for thing in found if thing.readable and thing.writable)


def raw(text):
    os.write(pipe_to_the_front(), bytes.fromhex(text))


def flood(text):
    descriptor = pipe_to_the_front()
    for _ in range(int(text) // 500):
        os.write(descriptor, UNASKED)


def flood_on(_):
    threading.Thread(target=flood, args=(10**9,), daemon=True).start()


def fill_frame(text):
    """The answer whose report has so many bytes: of the first 127 orders, whose number takes one byte."""
    rest = pipe.Done(1, 0, data=bytes(1 << 16))
    return b"x" * (int(text) - (len(pipe.encode(rest)) - len(rest.data)) - len(b"\n"))


def close_all(_):
    os.closerange(3, 1000)
    hang(ctypes.CDLL)


def spin(_):
    while True:
        pass


#: What the first word of a message does; what it returns, if anything, is the answer.
MESSAGES = {
    b"ECHO?": lambda text: text,
    b"SLEEP": lambda text: time.sleep(float(text)),
    b"SLEEP?": lambda text: time.sleep(float(text)) or text,
    b"HANG": lambda _: hang(),
    b"HANG-FREE": lambda _: hang(ctypes.CDLL),
    b"SPIN": spin,
    b"SEGV": lambda _: ctypes.string_at(0),
    b"ABORT": lambda _: os.abort(),
    b"EXIT": lambda text: os._exit(int(text or 0)),
    b"STOP": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    b"CLOSE-ALL": close_all,
    b"RAW": lambda text: raw(text) or hang(ctypes.CDLL),
    b"RAW-ON": raw,
    b"FLOOD": flood,
    b"FLOOD-ON": flood_on,
    b"FRAME?": fill_frame,
    b"STAT": os.stat,
}


class StubbornLibrary(highlevel.VisaLibraryBase):
    @staticmethod
    def get_library_paths():
        return (LibraryPath("plain"),)

    def _init(self):
        self._attributes = {}
        self._answer = b""
        self._resource = self._host = ""
        self._is_at_once = False

    def open_default_resource_manager(self):
        return 1, StatusCode.success

    def list_resources(self, session, query="?*::INSTR"):
        if self.library_path == "hangs-in-list":
            hang()
        return ("TCPIP0::a.stubborn::inst0::INSTR",)

    def open(self, session, resource_name, access_mode=0, open_timeout=0):
        self._resource = resource_name
        self._host = rname.ResourceName.from_string(resource_name).host_address.partition(".")[0]
        match self._host:
            case "hangs-in-open":
                hang()
            case "dies-in-open":
                os._exit(3)
            case "dies-once" if not os.path.exists(os.environ["STUBBORN_JOURNAL"] + ".once"):
                os._exit(3)
            case "stops-in-open":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "slow-open":
                time.sleep(2)
        return 2, StatusCode.success

    def close(self, session):
        if session == 2 and self._host == "hangs-in-close":
            hang()
        return StatusCode.success

    def write(self, session, data):
        message = data.strip()
        if "STUBBORN_JOURNAL" in os.environ:
            line = json.dumps({"resource": self._resource, "message": message.decode("latin-1")})
            with open(os.environ["STUBBORN_JOURNAL"], "a") as journal:
                journal.write(line + "\n")
        word, _, text = message.partition(b" ")
        answer = MESSAGES.get(word, lambda _: message)(text.decode() if word != b"ECHO?" else text)
        if isinstance(answer, str):
            answer = answer.encode()
        self._answer = answer + b"\n" if isinstance(answer, bytes) else b""
        self._is_at_once = word == b"FRAME?"
        return len(data), StatusCode.success

    def read(self, session, count):
        count = len(self._answer) if self._is_at_once else count
        answer, self._answer = self._answer[:count], self._answer[count:]
        return answer, StatusCode.success_max_count_read if self._answer else StatusCode.success

    def clear(self, session):
        self._answer = b""
        return StatusCode.success

    def get_attribute(self, session, attribute):
        default = {constants.VI_ATTR_TMO_VALUE: 2000, constants.VI_ATTR_TERMCHAR: 10, constants.VI_ATTR_TERMCHAR_EN: 0}
        if attribute in self._attributes:
            return self._attributes[attribute], StatusCode.success
        with contextlib.suppress(KeyError):
            return default[attribute], StatusCode.success
        return None, StatusCode.error_nonsupported_attribute

    def set_attribute(self, session, attribute, attribute_state):
        if self._host == "hangs-in-set":
            hang()
        self._attributes[attribute] = attribute_state
        return StatusCode.success


WRAPPER_CLASS = StubbornLibrary
