"""What is spoken on a connection: the text protocol for anything that has a socket, the wire for the PyVISA backend.

text_framing            bytes to lines and blocks
text_commands           the table of commands; text_arguments reads them, text_verbs and text_* carry them out
text_conversation       the conversation in text; text_long_messages what does not fit into memory
text_words              answers for people
wire_conversation       the conversation in the wire
"""
