"""The demo bench: the simulated instruments that `supervisor.py --demo` serves.

Two kinds, because they fail in two ways:

    bench.yaml      multimeter, power supply, temperature controller: pyvisa-sim plays them inside the child
    __main__        a process of its own (`python -m demo_bench`) that plays instruments on loopback TCP:
      scpi              the language they speak: messages, commands, values
      instrument        what such an instrument is: a table of commands, behind a socket
      oscilloscope      one whose waveform comes as a binary block
      generator         one that can really hang the VISA call of whoever talks to it

And what `instruments simulate` serves, an instrument that fails by a schedule, for laboratories to test their own
scripts with:

    schedule        the file and the options that say when it fails, checked
    faults          the kinds of faults, one table, and which is due when
    simulator       the instrument itself, behind a socket
    journal         what is said of it on the terminal and in a file

It is a bench of instruments and knows nobody: neither the daemon, nor its clients, nor VISA.
To add an instrument: a device and a resource in bench.yaml, or a module like `oscilloscope` and a row in `__main__`.
"""

from pathlib import Path

#: What pyvisa-sim reads: `pyvisa.ResourceManager(f"{BENCH_FILE}@sim")`.
BENCH_FILE = Path(__file__).with_name("bench.yaml")
