"""A VISA library that has every function, and writes down how each was called: `--visa-library @recorder`.

Each call is a line of JSON in the file that VISA_RECORD names: the resource, the method, the arguments behind the
session. Every name of RESOURCES opens. It parses names that PyVISA does not know: PXI, and an alias of its own. What a
function gives is known by its name (`value_of`, `status_of`); viRead gives what was written, bytes beyond `count`
later. Some messages do something of their own:

    FAIL -1073807298      the next function fails with that status
    EVENT 1073684491      the installed handlers of that event type are called, from a thread of the library's own
"""

import json
import os
import threading
from enum import Enum

from pyvisa import constants, highlevel
from pyvisa.constants import EventAttribute, EventType, ResourceAttribute, StatusCode
from pyvisa.util import LibraryPath

RESOURCES = (
    "GPIB0::8::INSTR",
    "GPIB0::INTFC",
    "USB0::0x1234::0x5678::SN1::0::INSTR",
    "ASRL1::INSTR",
    "TCPIP0::recorder::inst0::INSTR",
    "TCPIP0::recorder::5025::SOCKET",
    "VXI0::24::INSTR",
    "VXI0::MEMACC",
    "PXI0::3::INSTR",
)

ALIASES = {"pxi::3": "PXI0::3::INSTR", "digitizer": "PXI0::3::INSTR"}

#: What the attributes are before anybody sets them.
DEFAULTS = {
    ResourceAttribute.timeout_value: 2000,
    ResourceAttribute.termchar: 10,
    ResourceAttribute.termchar_enabled: False,
    ResourceAttribute.send_end_enabled: True,
    ResourceAttribute.gpib_primary_address: 8,
    ResourceAttribute.gpib_secondary_address: constants.VI_NO_SEC_ADDR,
    ResourceAttribute.interface_number: 0,
    ResourceAttribute.gpib_cic_state: True,
    ResourceAttribute.asrl_baud_rate: 9600,
    ResourceAttribute.asrl_parity: constants.Parity.none,
    ResourceAttribute.resource_manufacturer_name: "RECORDER",
    ResourceAttribute.file_append_enabled: False,
}

#: What an event of that type has besides.
EVENT_ATTRIBUTES = {
    EventType.trig: {EventAttribute.received_trigger_id: constants.TriggerID.ttl3},
    EventType.exception: {EventAttribute.operation_name: "viWrite", EventAttribute.status: StatusCode.error_io},
    EventType.usb_interrupt: {
        EventAttribute.usb_received_interrupt_size: 2,
        EventAttribute.status: StatusCode.success_max_count_read,
    },
    EventType.vxi_signal_interrupt: {EventAttribute.signal_register_status_id: 0xBEEF},
}

#: What a function gives beside its status.
_BYTES = ("buffer_read", "usb_control_in")
_LISTS = tuple(f"move_in_{bits}" for bits in (8, 16, 32, 64))
_NUMBERS = (
    *(f"{access}_{bits}" for access in ("in", "peek") for bits in (8, 16, 32, 64)),
    "read_stb",
    "buffer_write",
    "gpib_command",
    "vxi_command_query",
    "map_address",
    "memory_allocation",
)
_ONLY_STATUS = (
    *(f"{access}_{bits}" for access in ("out", "move_out", "poke") for bits in (8, 16, 32, 64)),
    "clear",
    "flush",
    "assert_trigger",
    "assert_interrupt_signal",
    "assert_utility_signal",
    "gpib_control_atn",
    "gpib_control_ren",
    "gpib_pass_control",
    "gpib_send_ifc",
    "usb_control_out",
    "set_buffer",
    "map_trigger",
    "unmap_trigger",
    "unmap_address",
    "memory_free",
    "move",
    "lock",
    "unlock",
    "discard_events",
    "terminate",
)

#: The completion codes that come back, by turns.
_STATUSES = (StatusCode.success, StatusCode.success_queue_not_empty, StatusCode.success_trigger_already_mapped)


def value_of(name):
    """What that function gives: each something else."""
    number = 0x41 if name == "read_stb" else sum(name.encode()) % 199 + 50
    if name in _BYTES:
        return b"\x00\xff" + name.encode()
    if name in _LISTS:
        return [0, number, 2 ** (int(name.rpartition("_")[2])) - 1]
    if name in _NUMBERS:
        return 2**64 - number if name.endswith("_64") or name == "map_address" else number
    return None


def status_of(name):
    """The completion code that comes with it."""
    return _STATUSES[sum(name.encode()) % len(_STATUSES)]


def _plain(argument):
    """For JSON, with what JSON would lose."""
    if isinstance(argument, Enum):
        return {type(argument).__name__: argument.value}
    if isinstance(argument, bytes | bytearray):
        return {type(argument).__name__: argument.hex()}
    return argument


class RecordingLibrary(highlevel.VisaLibraryBase):
    @staticmethod
    def get_library_paths():
        return (LibraryPath("plain"),)

    def _init(self):
        self._record = os.open(os.environ["VISA_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._name = ""
        self._attributes = dict(DEFAULTS)
        self._contexts = {}
        self._handlers = []
        self._answer = b""
        self._failure = StatusCode.success

    def _called(self, method, *arguments):
        """Write it down, then fail if that was ordered."""
        row = {"resource": self._name, "method": method, "arguments": [_plain(argument) for argument in arguments]}
        os.write(self._record, json.dumps(row).encode() + b"\n")
        if method not in ("get_attribute", "set_attribute", "write", "read"):
            failure, self._failure = self._failure, StatusCode.success
            self.handle_return_value(None, failure)

    def open_default_resource_manager(self):
        return 1, StatusCode.success

    def list_resources(self, session, query="?*::INSTR"):
        self._called("list_resources", query)
        return RESOURCES

    def parse_resource_extended(self, session, resource_name):
        self._called("parse_resource_extended", resource_name)
        name = ALIASES.get(resource_name, resource_name)
        if name not in RESOURCES:
            self.handle_return_value(session, StatusCode.error_invalid_resource_name)
        kind = constants.InterfaceType.pxi
        return highlevel.ResourceInfo(kind, 0, "INSTR", name, resource_name), StatusCode.success

    def open(self, session, resource_name, access_mode=constants.AccessModes.no_lock, open_timeout=0):
        self._called("open", resource_name, access_mode, open_timeout)
        if resource_name not in RESOURCES:
            return 0, StatusCode.error_resource_not_found
        self._name = resource_name
        return 2, StatusCode.success

    def close(self, session):
        self._called("close")
        return StatusCode.success

    def write(self, session, data):
        self._called("write", data)
        word, _, number = data.strip().partition(b" ")
        if word == b"FAIL":
            self._failure = StatusCode(int(number))
        elif word == b"EVENT":
            threading.Thread(target=self._happen, args=(EventType(int(number)),), daemon=True).start()
        elif self._name.endswith("SOCKET"):
            self._answer += data  # nothing marks the end of a message
        else:
            self._answer = data
        return len(data), StatusCode.success

    def read(self, session, count):
        self._called("read", count)
        if not self._answer:
            self.handle_return_value(session, StatusCode.error_timeout)
        data, self._answer = self._answer[:count], self._answer[count:]
        return data, StatusCode.success_max_count_read if self._answer else StatusCode.success

    def get_attribute(self, session, attribute):
        self._called("get_attribute", attribute)
        attributes = self._contexts.get(session, self._attributes)
        if attribute not in attributes:
            self.handle_return_value(session, StatusCode.error_nonsupported_attribute)
        return attributes[attribute], StatusCode.success

    def set_attribute(self, session, attribute, attribute_state):
        self._called("set_attribute", attribute, attribute_state)
        if attribute not in DEFAULTS:
            self.handle_return_value(session, StatusCode.error_nonsupported_attribute)
        self._attributes[attribute] = attribute_state
        return StatusCode.success

    # Events.

    def install_handler(self, session, event_type, handler, user_handle=None):
        self._called("install_handler", event_type)
        self._handlers.append((event_type, handler))
        return handler, user_handle, handler, StatusCode.success

    def uninstall_handler(self, session, event_type, handler, user_handle=None):
        self._called("uninstall_handler", event_type)
        self._handlers.remove((event_type, handler))
        return StatusCode.success

    def enable_event(self, session, event_type, mechanism, context=None):
        self._called("enable_event", event_type, mechanism)
        if event_type == EventType.clear:
            self.handle_return_value(session, StatusCode.error_invalid_event)
        return StatusCode.success

    def disable_event(self, session, event_type, mechanism):
        self._called("disable_event", event_type, mechanism)
        return StatusCode.success

    def wait_on_event(self, session, in_event_type, timeout):
        self._called("wait_on_event", in_event_type, timeout)
        return in_event_type, 99, StatusCode.success

    def _happen(self, event_type):
        self._contexts[77] = {EventAttribute.event_type: event_type, **EVENT_ATTRIBUTES.get(event_type, {})}
        for kind, handler in tuple(self._handlers):
            if kind == event_type:
                handler(2, event_type, 77, None)

    # Operations that the daemon does with others, here so that a call of theirs would be seen.

    def read_asynchronously(self, session, count):
        self._called("read_asynchronously", count)
        return bytearray(count), 1, StatusCode.success

    def get_buffer_from_id(self, job_id):
        self._called("get_buffer_from_id", job_id)

    def write_asynchronously(self, session, data):
        self._called("write_asynchronously", data)
        return 1, StatusCode.success

    def move_asynchronously(self, session, *arguments):
        self._called("move_asynchronously", *arguments)
        return 1, StatusCode.success

    def read_to_file(self, session, filename, count):
        self._called("read_to_file", filename, count)
        return 0, StatusCode.success

    def write_from_file(self, session, filename, count):
        self._called("write_from_file", filename, count)
        return 0, StatusCode.success

    def status_description(self, session, status):
        self._called("status_description", status)
        return "recorded", StatusCode.success


def _method(name):
    """A function that is only written down."""
    is_status = name in _ONLY_STATUS

    def method(self, session, *arguments):
        self._called(name, *arguments)
        status = self.handle_return_value(session, status_of(name))
        return status if is_status else (value_of(name), status)

    method.__name__ = name
    return method


for _name in (*_BYTES, *_LISTS, *_NUMBERS, *_ONLY_STATUS):
    setattr(RecordingLibrary, _name, _method(_name))

WRAPPER_CLASS = RecordingLibrary
