"""Tests of front_proc/guarding/."""
