"""The child process: owns one VISA session and nothing else. The only server code that imports PyVISA.

pipe                 the language between front and child (the front imports this)
spawn                the entry point that the front names when it starts a child (the front imports this)
signs                how far a child is with its order, in memory that it shares with the front
front_line           the child's end of the pipe
child                the child's loop: one order at a time
aborter              a thread that cuts a call short when the front says so
calls                the table of VISA calls
visa_session         the session: PyVISA's functions in the terms of the pipe, and
standard_attributes  what every session has though its library may not know it
libraries            how the VISA libraries are loaded, asked and mended
lean_imports         how they are kept from importing what no instrument needs
failures             whatever they do to say that a call failed, as one kind of error
simulated            pyvisa-sim with what it lacks (with simulated_session, simulated_instrument)
guard                never outlive the front; never share an instrument with a forgotten child
"""
