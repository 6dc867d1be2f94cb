"""What tests stand on: real daemons, real loopback instruments, a plain socket for the text protocol.

daemon          starts `supervisor.py` and sees that nothing of it is left
text_client     the text protocol from its other end, byte by byte
instrument      a scripted instrument (a process: `python -m tests.support.instrument`)
tcp_instrument  starts that process, and asks it what it executed
waiting         wait for a condition instead of sleeping
"""
