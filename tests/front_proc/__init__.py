"""Tests of front_proc/: its pure rooms, and the keeper and its resource without any process."""
