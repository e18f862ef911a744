"""Faults: the real server as a process of its own, killed at every step of a run and again while it recovers."""
