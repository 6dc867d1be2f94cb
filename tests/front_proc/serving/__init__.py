"""Tests of front_proc/serving/."""
