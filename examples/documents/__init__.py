"""The documents of the demonstration, produced when they are needed."""
