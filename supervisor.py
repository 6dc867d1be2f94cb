"""The daemon's command: `python supervisor.py [--daemonize] [--demo] ...`; `--help` says the rest.

The installed `instrument-daemon` does the same. A child executes neither (see `front_proc.process.child`).
"""

if __name__ == "__main__":
    from front_proc.entry import main

    main()
