"""The durable core: pure values and rules, and the workflows; no I/O and no client library."""
