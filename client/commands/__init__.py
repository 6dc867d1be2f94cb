"""`instruments`, for people at a terminal: one module for each kind of work.

Runs in the user's process, over the same rooms as a program that imports `client`, and is imported by none of those.
Reading tour:

    main        the table of subcommands, each of which is imported when it is called; what a failure ends with
    terminal    exit codes; lines and tables, in which nothing is left that a terminal would obey
    reach       an instrument at the daemon that has it
    terms       how it is spoken to: the options of all who do
    survey      all known daemons, asked at the same time
    suggestions did you mean ...?
    listing     `list`: what is there
    status      `status`: how it is, over overview, a status in words, and watching, the live display
    doctor      `doctor`: what is wrong, over the room checkup
    asking      `query`, `write` and `read`
    capture     `capture`, over capture_files
    shell       `shell`, over shell_words and shell_prompt
    recovery    `abort`, `reset`, `restart` and `safe`
    locks       `lock`, `unlock` and `kick`
    log         `log`, over log_files, log_reading, log_records and log_verification
    token       `token`
    simulate    `simulate`, over the room demo_bench
    completion  `completion`, and what is completed
"""
