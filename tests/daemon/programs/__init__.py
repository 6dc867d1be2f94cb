"""Programs that tests start in processes of their own: stock PyVISA, and an instrument for what is too big for scripts.

Each is run as `python -m tests.daemon.programs.NAME`, says in lines of JSON what it saw, and knows nothing of ours.

    program          starts one, hears what it says, ends it
    two_calls        writes questions and reads the answers, in two calls
    bulk             reads and writes messages of any size
    scenes           is interrupted, forks, ends with everything open
    bulk_instrument  answers and takes messages of any size
"""
