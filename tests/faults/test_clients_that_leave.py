"""Clients that leave in the middle, orderly or not: their answers reach nobody, and the next client's are its own."""

import contextlib
import itertools
import threading

import pytest

from tests.daemon.clients import PyvisaClient, TextProtocolClient
from tests.faults.leaver import Leaver
from tests.support.instrument_process import SerialInstrument, Vxi11Instrument
from tests.support.tcp_instrument import TcpInstrument
from tests.support.waiting import wait_until


@pytest.fixture
def switched_on():
    """An instrument of a kind: `switched_on(SerialInstrument)`."""
    with contextlib.ExitStack() as off:

        def start(kind):
            instrument = kind()
            off.callback(instrument.switch_off)
            return instrument

        yield start


def text_closes(bench, resource, question):
    """The connection of the text protocol is closed."""
    client = bench.client(resource, timeout_ms=5000)
    client.begin("query", question)
    return client.close


def pyvisa_closes(bench, resource, question):
    """PyVISA's connection is closed, from another thread."""
    client = PyvisaClient(bench.daemon, "localhost")
    client.open(resource)
    client.set_timeout(5000)
    asking = threading.Thread(target=_ask, args=(client, question))
    asking.start()

    def leave():
        client.vanish()
        asking.join()

    return leave


def _ask(client, question):
    with contextlib.suppress(Exception):  # whatever it is told, its connection is gone
        client.query(question)


def text_is_killed(bench, resource, question):
    """SIGKILL to a program of the text protocol."""
    return _killed("text", bench, resource, question)


def pyvisa_is_killed(bench, resource, question):
    """SIGKILL to a PyVISA program."""
    return _killed("pyvisa", bench, resource, question)


def _killed(language, bench, resource, question):
    leaver = Leaver(language, bench.daemon.host, bench.daemon.port, resource, "query", question)
    leaver.hears("begins")
    return leaver.kill


WAYS = (text_closes, pyvisa_closes, text_is_killed, pyvisa_is_killed)


@pytest.fixture
def stays(bench):
    """Who stays, in both languages: `stays(resource)`; what each of them asks has to be answered with its own."""
    with contextlib.ExitStack() as leave:

        def opened(resource):
            clients = [PyvisaClient(bench.daemon, "127.0.0.1"), TextProtocolClient(bench.daemon)]
            for client in clients:
                client.open(resource)
                leave.callback(client.close)
                client.set_timeout(10_000)
            return clients

        yield opened


def all_get_their_own(bench, resource, clients, name):
    """Those who were there, and one who opens it now."""
    for number, client in enumerate(clients):
        assert client.query(f"ECHO? {name} {number}") == f"{name} {number}"
    with bench.client(resource, timeout_ms=10_000) as client:
        assert client.query(f"ECHO? {name} opened after") == f"{name} opened after"


@pytest.mark.fault(27)
def test_client_gone_in_mid_query_leaves_the_next_ones_their_own_replies(bench, stays):
    """Its command goes on to its end, once; whoever is next waits for that and gets what it asked for."""
    instrument = bench.tcp()
    clients = stays(instrument.resource)
    for way in WAYS:
        question = f"SLOW? 300,{way.__name__}"
        leave = way(bench, instrument.resource, question)
        wait_until(lambda question=question: instrument.count(question) == 1)
        leave()
        with bench.figures.timed("next_reply"):
            all_get_their_own(bench, instrument.resource, clients, way.__name__)
        assert instrument.count(question) == 1
    assert not bench.daemon.audit(event="killed"), "no process had to end for it"


def text_leaves(bench, resource, question):
    with bench.client(resource) as client:
        client.write(question)


def pyvisa_leaves(bench, resource, question):
    client = PyvisaClient(bench.daemon, "localhost")
    client.open(resource)
    client.write(question)
    client.close()


def pyvisa_vanishes(bench, resource, question):
    client = PyvisaClient(bench.daemon, "localhost")
    client.open(resource)
    client.write(question)
    client.vanish()


@pytest.mark.fault(29)
@pytest.mark.parametrize("kind", [TcpInstrument, Vxi11Instrument, SerialInstrument])
@pytest.mark.parametrize("pairs", [zip, pytest.param(itertools.product, marks=pytest.mark.full)])
def test_answer_that_its_asker_did_not_read_answers_nobody(switched_on, bench, stays, kind, pairs):
    """It asks and leaves; the answer comes 200 ms later, or half of it, or it is there; in full each way with each."""
    resource = bench.watch(switched_on(kind))
    clients = stays(resource)
    leaving, questions = (text_leaves, pyvisa_leaves, pyvisa_vanishes), ("SLOW? 200,", "HALF?", "ECHO?")
    for leave, question in pairs(leaving, questions):
        name = f"{leave.__name__} {question[:4]}"
        leave(bench, resource, f"{question} {name}")
        with bench.figures.timed("next_reply"):
            all_get_their_own(bench, resource, clients, name)
    assert not bench.daemon.audit(event="hung")
