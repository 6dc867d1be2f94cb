"""Tests of front_proc/doors/."""
