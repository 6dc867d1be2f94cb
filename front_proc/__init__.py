"""The front: one asyncio process that accepts clients and watches children. Never touches VISA.

command, settings, daemonize    from the command line to a serving process
front                           the house's registry: clients, resources, the pool, start and stop
service_manager, stalls         systemd, and a loop that does not turn
connection                      one TCP connection; its first bytes choose the language
text_*                          the text protocol: framing, the table of commands, long messages, the conversation
wire_conversation               the wire of the PyVISA backend
resource, queue, hold, tickets  who is served when, and how each command ends
sessions, attributes, admission who is connected, what each has open, and which VISA attributes it wants
keeper, lifecycle, child, pool  the instrument's process: deadlines, the table of states, mechanics, spares
breaker, limits, house          when it is started again; how long what may take; the borders between these rooms
demo                            the bundled bench of `--demo`
discovery, status, audit        what is there, how it is, what happened
log_*                           the thread that writes a log; records as lines; the file and its rotation
"""
