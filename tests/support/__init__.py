"""What tests stand on: real daemons, real loopback instruments, a plain socket for the text protocol.

daemon          starts `supervisor.py` and sees that nothing of it is left
text_client     the text protocol from its other end, byte by byte
instrument      a scripted instrument (a process: `python -m tests.support.instrument`)
instrument_process, tcp_instrument
                start such processes, and ask them what they executed; also VXI-11, serial, Keysight's
rack            many of them in one process
wire_client     the wire from its other end
waiting         wait for a condition instead of sleeping
"""
