"""What people use today to reach an instrument on another machine from Python: rpyc, Pyro5, pyvisa-proxy.

Each server holds all instruments in one process and is what its documentation starts with. rpyc and Pyro5 have no
lock around an instrument; nor have their users' programs, mostly.
"""

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Client, Peer
from benchmarks.peers.direct import open_with
from benchmarks.peers.served import serve_until_input_ends, serving

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def _rpyc(where: str, resource: str) -> Client:
    import rpyc

    connection = rpyc.connect("127.0.0.1", int(where))
    remote = connection.root.open(resource)
    return Client(remote.query, remote.write, connection.close)


def _serve_rpyc(resources: Sequence[str]) -> None:
    import rpyc
    from rpyc.utils.server import ThreadedServer

    class Instruments(rpyc.Service):
        """Gives out PyVISA's own resource objects; rpyc makes references to them."""

        def exposed_open(self, resource: str) -> Any:
            return _resource(resource)

    server = ThreadedServer(Instruments(), hostname="127.0.0.1", port=0, protocol_config={"allow_public_attrs": True})
    serve_until_input_ends(str(server.port), server.start)


def _pyro(where: str, resource: str) -> Client:
    import Pyro5.api

    proxy = Pyro5.api.Proxy(dict(pair.split("=", 1) for pair in where.split())[resource])
    return Client(proxy.query, proxy.write, proxy._pyroRelease)


def _serve_pyro(resources: Sequence[str]) -> None:
    import Pyro5.api

    @Pyro5.api.expose
    class Instrument:
        def __init__(self, resource: str) -> None:
            self._resource = _resource(resource)

        def query(self, message: str) -> str:
            answer: str = self._resource.query(message)
            return answer

        def write(self, message: str) -> int:
            count: int = self._resource.write(message)
            return count

    daemon = Pyro5.api.Daemon(host="127.0.0.1")
    uris = " ".join(f"{resource}={daemon.register(Instrument(resource))}" for resource in resources)
    serve_until_input_ends(uris, daemon.requestLoop)


def _proxy(where: str, resource: str) -> Client:
    return open_with(f"127.0.0.1:{where}@proxy", resource)


def _serve_proxy(resources: Sequence[str]) -> None:
    import pyvisa_proxy

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = pyvisa_proxy.ProxyServer(port, None, "@py")
    serve_until_input_ends(str(port), server.run)


def _resource(resource: str) -> Any:
    import pyvisa

    return pyvisa.ResourceManager("@py").open_resource(resource, read_termination="\n", write_termination="\n")


def _peer(name: str, connect: Any, needs: str) -> Peer:
    @contextmanager
    def serve(bench: "Bench", resources: Sequence[str], cpu: int | None) -> Iterator[str]:
        with serving(__name__, [name, *resources], cpu) as where:
            yield where

    return Peer(serve, connect, needs)


ROWS = {
    "rpyc": _peer("rpyc", _rpyc, "rpyc"),
    "Pyro5": _peer("Pyro5", _pyro, "Pyro5"),
    "pyvisa-proxy": _peer("pyvisa-proxy", _proxy, "pyvisa_proxy"),
}
SERVERS = {"rpyc": _serve_rpyc, "Pyro5": _serve_pyro, "pyvisa-proxy": _serve_proxy}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2:])
