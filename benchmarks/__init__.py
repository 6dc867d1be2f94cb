"""Measures the daemon against what a user would pick instead, everything interleaved in one run.

Run by `scripts/benchmark.sh`, which is `python -m benchmarks` with what it needs installed. Starts daemons, peers and
loopback instruments as processes of its own, knows no more of the daemon than its users do, and is in no wheel. Only
ratios inside one run are worth quoting: absolute times are those of the machine. Reading tour:

    measures    the table of what is measured; each measure is a module with TITLE and `run(bench)`
    bench       what a measure is given: a folder, daemons, and `check`, which counts wrong answers
    loopback    the instrument: loopback.c, or loopback_python where there is no C compiler
    peers       what is compared: how to start each one's server, and its client
    processes   what /proc says of them
    figures     a number with its names; a whole run as JSON
    goals       what is to be reached, as a table
    report      Markdown; plots, SVG; publish puts them into docs/

To add a measure: its module, its row in MEASURES. To add a peer: its module in peers, its row in PEERS. To add a goal:
its row in GOALS.
"""
