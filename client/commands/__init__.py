"""`instruments`, for people at a terminal: one module for each kind of work.

Runs in the user's process, over the same rooms as a program that imports `client`, and is imported by none of those.
Reading tour:

    main        the table of subcommands, each of which is imported when it is called; what a failure ends with
    terminal    exit codes; lines and tables, in which nothing is left that a terminal would obey
    reach       an instrument at the daemon that has it
    survey      all known daemons, asked at the same time
    suggestions did you mean ...?
    listing     `list`: what is there
    status      `status`: how it is, over overview, a status in words, and watching, the live display
    doctor      `doctor`: what is wrong, over the room checkup
    asking      `query`
    locks       `lock`, `unlock` and `kick`
    log         `log`, over log_files, log_reading, log_records and log_verification
    token       `token`
    simulate    `simulate`, over the room demo_bench
"""
