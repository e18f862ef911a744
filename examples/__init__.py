"""Examples that run against the real thing."""
