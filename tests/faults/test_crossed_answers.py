"""Two clients and more on one instrument: nobody gets another's answer, nor a late one to an earlier question.

The proofs on every interface are in tests/daemon, `test_late_replies` and `test_crossing`; here they run beside GOOD.
"""

import contextlib
import threading

import pytest

from tests.daemon.programs.program import Program
from tests.daemon.test_late_replies import LANES, Proof, scripted

LONG = 1800.0


@pytest.mark.fault(24)
@pytest.mark.parametrize("count", [16, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])])
def test_late_replies_on_a_socket_answer_no_later_question(bench, count):
    """Programs that time out, insist, give up and vanish, in random order; a failure prints its seed."""
    proof = Proof(bench.daemon, [bench.tcp().resource for _ in LANES], scripted)
    proof.run(count)
    for name in ("questions", "answers", "timeouts", "late answers", "crossed"):
        bench.figures.note(name.replace(" ", "_"), proof.figures[name])
    assert proof.figures["timeouts"], "it did ask too much"


COUNTS = [500, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])]


@pytest.mark.fault(35)
@pytest.mark.parametrize("count", COUNTS)
def test_two_pyvisa_programs_get_their_own_answers(bench, count):
    """Stock PyVISA, whose query() is a write() and a read(), in two processes."""
    instrument = bench.tcp()
    with contextlib.ExitStack() as running:
        programs = [
            running.enter_context(Program("two_calls", bench.daemon.address, instrument.resource, name, count, 0, 0))
            for name in "ab"
        ]
        for program in programs:
            assert program.hears() == "ready"
        with bench.figures.timed("pyvisa_took"):
            for program in programs:
                program.says("go")
            results = [program.hears(LONG) for program in programs]
    bench.figures.note("crossed", sum(len(result["crossed"]) for result in results))
    assert results == [{"right": count, "crossed": [], "failed": {}}] * 2
    assert instrument.count("ECHO?") == 2 * count


@pytest.mark.fault(35)
@pytest.mark.parametrize("count", COUNTS)
def test_two_clients_of_the_text_protocol_get_their_own_answers(bench, count):
    """Each in a thread of its own, as fast as it can."""
    instrument = bench.tcp()
    wrong = []

    def converse(client, name):
        for number in range(count):
            nonce = f"{name}-{number}"
            answer = client.query(f"ECHO? {nonce}")
            if answer != nonce:
                wrong.append((nonce, answer))

    clients = {name: bench.client(instrument.resource, timeout_ms=10_000) for name in "ab"}
    threads = [threading.Thread(target=converse, args=(client, name)) for name, client in clients.items()]
    with bench.figures.timed("text_took"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    bench.figures.note("crossed", len(wrong))
    assert wrong == []
    assert instrument.count("ECHO?") == 2 * count


@pytest.mark.fault(60)
@pytest.mark.parametrize("leaves", ["closes", "vanishes", "stays"])
@pytest.mark.parametrize("count", [10, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])])
def test_rest_of_an_answer_on_a_socket_answers_no_question_of_another(bench, leaves, count):
    """Who reads one field of two, and goes or stays; the others' answers are their own, and none comes one too late."""
    instrument = bench.tcp()
    other = bench.client(instrument.resource, timeout_ms=10_000)
    reader, crossed = None, 0
    for number in range(count):
        reader = reader or bench.client(instrument.resource, timeout_ms=10_000)
        reader.ask(r".#.termination , \n")
        assert reader.query(f"ECHO? {number},rest-{number}") == str(number)
        if leaves != "stays":
            reader = _leave(reader, leaves)
        answers = [other.query(f"ECHO? {number}-{again}") for again in "ab"]
        crossed += answers != [f"{number}-a", f"{number}-b"]
    bench.figures.note("crossed", crossed)
    assert crossed == 0


def _leave(client, how):
    if how == "closes":
        assert client.ask(".#.close_resource") == "ok"
    client.close()
