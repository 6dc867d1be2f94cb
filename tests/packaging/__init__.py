"""Tests of `packaging`."""
