"""Tests of instrument_proc/: the pipe, and real child processes on simulated and loopback instruments."""
