"""Tests of pyvisa_daemon/."""
