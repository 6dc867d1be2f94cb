"""Stock PyVISA programs that something happens to: SCENE ADDRESS RESOURCE.

SCENE is a row of SCENES; each says what it is about to do, and afterwards what came of it. Those that are interrupted
are sent SIGINT from outside, as Ctrl-C sends it.
"""

import contextlib
import json
import os
import random
import signal
import sys
import threading
import traceback

import pyvisa
from pyvisa.constants import EventMechanism, EventType


def say(what):
    print(json.dumps(what), flush=True)


def interrupted(instrument, call, message):
    """`call`, which SIGINT ends; then a question."""
    say("begins")
    try:
        say(call(message))
    except KeyboardInterrupt:
        say("interrupted")
    sys.stdin.readline()
    say(instrument.query("ECHO? next"))


def interrupted_read(instrument):
    interrupted(instrument, instrument.query, "SLOW? 1000,late")


def interrupted_write(instrument):
    interrupted(instrument, instrument.write, "SET 1")


def interrupted_query(instrument):
    interrupted(instrument, instrument.query, "ECHO? never")


def interrupted_often(instrument):
    """At any moment, a hundred times; how many answers were not its own.

    Between viWrite and viRead nobody but the program knows that it will not read, so it clears, as with any library.
    """
    chance = random.Random(1)
    wrong = interruptions = number = 0
    while interruptions < 100:
        number += 1
        nonce = f"nonce {number}"
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.004))
        try:
            answer = instrument.query(f"ECHO? {nonce}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            wrong += answer != nonce
        except KeyboardInterrupt:
            interruptions += 1
            instrument.clear()
    say(wrong)
    say(instrument.query("ECHO? next"))


def forks(instrument):
    """Its child cannot use what is open, opens it anew, and ends as a program ends; the parent goes on."""
    say("begins")
    pid = os.fork()
    if not pid:
        try:
            try:
                say(instrument.query("ECHO? from the child"))
            except pyvisa.VisaIOError as error:
                say(error.abbreviation)
            address, resource = sys.argv[2:]
            anew = pyvisa.ResourceManager(f"{address}@daemon").open_resource(resource, read_termination="\n")
            say(anew.query("ECHO? opened anew"))
        except BaseException:
            traceback.print_exc()
        sys.exit()
    _, status = os.waitpid(pid, 0)
    say(status)
    say(instrument.query("ECHO? from the parent"))


def waits_in_vain(instrument):
    with contextlib.suppress(pyvisa.VisaIOError):  # PyVISA closes what is open when the interpreter ends
        instrument.wait_on_event(EventType.service_request, 60_000)


def ends_with_everything_open(instrument):
    """A lock, a handler, a thread that waits for an event, an answer that nobody reads."""
    instrument.lock_excl()
    wrapped = instrument.wrap_handler(lambda *_: None)
    instrument.install_handler(EventType.service_request, wrapped)
    instrument.enable_event(EventType.service_request, EventMechanism.handler)
    instrument.enable_event(EventType.service_request, EventMechanism.queue)
    threading.Thread(target=waits_in_vain, args=(instrument,), daemon=True).start()
    instrument.write("ECHO? for nobody")
    say("ends")


SCENES = {
    scene.__name__: scene
    for scene in (
        interrupted_read,
        interrupted_write,
        interrupted_query,
        interrupted_often,
        forks,
        ends_with_everything_open,
    )
}


def main(scene: str, address: str, resource: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    manager = pyvisa.ResourceManager(f"{address}@daemon")
    options = {"read_termination": "\n", "write_termination": "\n"}
    SCENES[scene](manager.open_resource(resource, timeout=10_000, **options))


if __name__ == "__main__":
    main(*sys.argv[1:])
