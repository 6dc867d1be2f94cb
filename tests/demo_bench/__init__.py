"""Tests of `demo_bench`."""
