"""The migration chain of the one database; every revision is a file in `versions`."""
