"""Tests of front_proc/access/."""
