"""Processes as data: JSON Logic, the definition format, its node types and the verification before anything runs."""
