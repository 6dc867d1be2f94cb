"""Tests of front_proc/process/."""
