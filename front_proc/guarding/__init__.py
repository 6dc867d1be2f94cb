"""What must not reach an instrument.

scpi, scpi_numbers, scpi_patterns   messages and headers, in every reading that an instrument may have
guard_settings, guards              the rules, as written and as judged
guarded_messages, guard_service     messages that come in parts, and the sessions that send them
"""
