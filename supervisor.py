"""The daemon's command: `python supervisor.py [--daemonize] [--demo] ...`; `--help` says the rest.

Tiny on purpose: a spawned child executes this file again (as `__mp_main__`) before it becomes a child.
"""

if __name__ == "__main__":
    from front_proc.command import main

    main()
