"""What goes on record.

audit           the events, and the order in which they are written
log_writer      the thread that writes a log
log_lines, log_file     a record as a line with its chain; the file and its rotation
"""
