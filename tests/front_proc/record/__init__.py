"""Tests of front_proc/record/."""
