"""The scripted instrument on a socket, as a process."""

from tests.support.instrument_process import ScriptedProcess


class TcpInstrument(ScriptedProcess):
    """A process that plays `tests.support.instrument`: TCPIP0::127.0.0.1::PORT::SOCKET."""

    def __init__(self) -> None:
        super().__init__("instrument")
