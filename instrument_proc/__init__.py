"""The child process: owns one VISA session and nothing else. The only server code that imports PyVISA.

pipe        the language between front and child (the front imports this)
spawn       the entry point that the front names when it starts a child (the front imports this)
child       the child's loop: one order at a time
calls       the table of VISA calls
libraries   what the VISA libraries lack or get wrong, mended at this border
guard       never outlive the front; never share an instrument with a forgotten child
"""
