"""One session of a program, the same in both languages: what a program does, and that it may time out.

PyvisaClient           stock PyVISA on a connection of its own: each has its own spelling of the host
TextProtocolClient     the text protocol
"""

from typing import Protocol

import pyvisa
from pyvisa.constants import ResourceAttribute, StatusCode

from tests.support.daemon import Daemon
from tests.support.text_client import TextClient


class TimedOutError(Exception):
    """No answer within the session's timeout."""


class Client(Protocol):
    """One session as its program sees it. Whatever fails raises TimedOutError, or for another reason AssertionError."""

    def open(self, resource: str) -> None: ...

    def write(self, message: str) -> None: ...

    def read(self) -> str: ...

    def query(self, message: str) -> str: ...

    def clear(self) -> None: ...

    def set_timeout(self, milliseconds: int) -> None: ...

    def set_something(self) -> None:
        """A local attribute that changes nothing."""

    def close(self) -> None: ...

    def vanish(self) -> None:
        """Its connection is gone, whatever was under way."""


class PyvisaClient:
    def __init__(self, daemon: Daemon, host: str) -> None:
        self._manager = pyvisa.ResourceManager(f"{host}:{daemon.port}@daemon")

    def open(self, resource: str) -> None:
        self._instrument = self._manager.open_resource(resource, read_termination="\n", write_termination="\n")

    def write(self, message: str) -> None:
        self._attempt(self._instrument.write, message)

    def read(self) -> str:
        return self._attempt(self._instrument.read)

    def query(self, message: str) -> str:
        return self._attempt(self._instrument.query, message)

    def clear(self) -> None:
        self._attempt(self._instrument.clear)

    def set_timeout(self, milliseconds: int) -> None:
        self._attempt(setattr, self._instrument, "timeout", milliseconds)

    def set_something(self) -> None:
        self._attempt(self._instrument.set_visa_attribute, ResourceAttribute.termchar, ord("\n"))

    def close(self) -> None:
        self._instrument.close()

    def vanish(self) -> None:
        library = self._instrument.visalib
        library._sessions[self._instrument.session].channel.close()
        self._instrument.close()

    def _attempt(self, call, *arguments):
        try:
            return call(*arguments)
        except pyvisa.VisaIOError as error:
            if error.error_code == StatusCode.error_timeout:
                raise TimedOutError from error
            raise AssertionError(str(error)) from error


class TextProtocolClient:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def open(self, resource: str) -> None:
        self._client: TextClient = self._daemon.text()
        self._ask(f"open_resource {resource}")

    def write(self, message: str) -> None:
        self._ask(f"write_resource {message}")

    def read(self) -> str:
        return self._ask("read_resource")

    def query(self, message: str) -> str:
        return self._ask(f"query_resource {message}")

    def clear(self) -> None:
        self._ask("clear")

    def set_timeout(self, milliseconds: int) -> None:
        self._ask(f"timeout {milliseconds}")

    def set_something(self) -> None:
        self._ask(r"termination \n \n")

    def close(self) -> None:
        self._ask("close_resource")
        self._client.close()

    def vanish(self) -> None:
        self._client.send(b".#.read_resource\n")  # the daemon learns of its end in the middle of this
        self._client.close()

    def _ask(self, request: str) -> str:
        reply = self._client.ask(f".#.{request}")
        if reply.startswith(".#.error VI_ERROR_TMO "):
            raise TimedOutError
        assert not reply.startswith(".#.error "), reply
        return reply
