"""The process of one instrument, as the front has it.

lifecycle       its states, one table
keeper          feeds that table, and does what it says: start, deadline, kill, back-off
breaker         how often it has failed, and when it is started again
child, pool     the process itself, and the warm spare
identities      who was first seen where, and who is refused
"""
