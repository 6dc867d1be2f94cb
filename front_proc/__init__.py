"""The front: one asyncio process that accepts clients and watches children. Never touches VISA.

entry, command, daemonize       from the command line to a serving process
settings, setting_values        what can be set, and what a value may be
front                           the house's registry: clients, resources, the pool, start and stop
service_manager, stalls         systemd, and a loop that does not turn
bind_policy, tls_*, *certificate    where it may listen; TLS between a connection and the network
connection, peer                one TCP connection; its first bytes choose the language
rights, access, token_file      who may do what, by address and by token; own_doors which resource leads back here
text_*                          the text protocol: framing, the table of commands, long messages, the conversation
wire_conversation               the wire of the PyVISA backend
resource, queue, hold, tickets  who is served when, and how each command ends
rest                            what may be left of an answer on a stream, and how it is looked for
service, errands                all that happens at one instrument; what the daemon itself has it do
sessions, attributes, admission who is connected, what each has open, and which VISA attributes it wants
locks, leases, lock_*           who has the resource to itself, how long, and who waits
guard_*, guards, scpi*          what must not reach an instrument: rules, messages as it reads them, sessions
safe_*                          what is sent when who has the lock is lost
events, event_service           service requests and other events
resource_settings, resource_table   what is configured for which resource
keeper, lifecycle, child, pool  the instrument's process: deadlines, the table of states, mechanics, spares
breaker, limits, house          when it is started again; how long what may take; the borders between these rooms
read_ahead, spool               answers that were read for somebody; long writes on disk
demo                            the bundled bench of `--demo`
discovery, status, pace, audit  what is there, how it is, how fast, what happened
announcer, announcer_process    the local network is told of it, by a process of its own
log_*                           the thread that writes a log; records as lines; the file and its rotation
"""
