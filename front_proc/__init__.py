"""The front: one asyncio process that accepts clients and watches children. Never touches VISA.

entry, command, daemonize, run  from the command line to a serving process, and to its end
front, house                    its registry: clients, resources, the pool, start and stop; what the rooms need of it
check_config, reload            the settings checked beside a daemon that serves; and read anew by it
demo, discovery, status         the bundled bench of `--demo`; what is there; how it is
service_manager, stalls         systemd, and a loop that does not turn

The rooms, on the way that a query takes:

doors/          where the daemon may be reached, in TLS too; how a connection begins; the network is told of it
access/         who may come in, and who may do what
languages/      what is spoken there: text, and the wire of the PyVISA backend
serving/        one instrument: turns, holds, locks, events, and how each command ends
guarding/       what must not reach it
process/        its process: states, deadlines, deaths, back-off
record/         what goes on record
configuration/  what the operator has said
"""
