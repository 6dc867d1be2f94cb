"""Tests of front_proc/languages/."""
