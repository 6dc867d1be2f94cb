"""`instruments doctor`: what is wrong between a program and its instruments, and what to do about it.

Runs in the user's process, on a machine with a daemon or without. Facts are gathered first, then judged: the checks
are pure, so each remedy has a test that needs no broken machine. Nothing here opens an instrument, or changes anything.
Reading tour:

    facts         what is known of the machine and of the daemons: the input of all checks
    findings      a sentence, how bad it is, and the remedy: their output
    here          gathers the facts of this machine; local_search, what PyVISA finds here without a daemon
    visits        gathers those of the daemons
    software, settings, interfaces, daemons
                  the checks
    checks        all of them, in the order in which they are told

To add a check: a function from `System` to findings in one of those four, its row in `checks.CHECKS`, its test.
"""
