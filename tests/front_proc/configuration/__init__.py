"""Tests of front_proc/configuration/."""
