"""Measurements beside a peer in the same run; `make bench` runs every module that has something to print."""
