"""What happens at one instrument: who is served when, and how each command ends.

resource, sessions, attributes      what is open, for whom, and the VISA attributes that each has
service                             each command from its acceptance to its one outcome; in `tickets` what it is then
queue, hold, read_ahead, spool      whose turn it is, whose answer is due; answers and long writes that are kept
rest                                what may be left of an answer on a stream, and how it is looked for
errands                             what the daemon itself has the instrument's process do
locks, leases, lock_*               who has it alone, for how long, and who waits
safe_*                              what is sent when who has the lock is lost
events, event_service               service requests and other events
pace                                how many commands, how fast
"""
