"""A stock PyVISA program that writes and reads in two calls: ADDRESS RESOURCE NAME COUNT SHORTEST LONGEST.

SHORTEST to LONGEST, in seconds, is how long it has something else to do between a question and its answer. Says "ready"
and waits for a line, so that several begin together; then says what became of it: `right` answers, those that are
`crossed` (somebody else's, or to an earlier question), and `failed` calls by status.
"""

import json
import random
import sys
import time

import pyvisa


def main(address: str, resource: str, name: str, count: str, shortest: str, longest: str) -> None:
    manager = pyvisa.ResourceManager(f"{address}@daemon")
    options = {"read_termination": "\n", "write_termination": "\n"}
    instrument = manager.open_resource(resource, timeout=2000, **options)
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    right, crossed, failed = 0, [], {}
    for number in range(int(count)):
        nonce = f"{name} {number}"
        try:
            instrument.write(f"ECHO? {nonce}")
            time.sleep(random.uniform(float(shortest), float(longest)))
            answer = instrument.read()
        except pyvisa.VisaIOError as error:
            failed[error.abbreviation] = failed.get(error.abbreviation, 0) + 1
            continue
        if answer == nonce:
            right += 1
        else:
            crossed.append((nonce, answer))
    print(json.dumps({"right": right, "crossed": crossed, "failed": failed}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
