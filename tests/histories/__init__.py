"""Golden histories: what runs of this release have written, for later code to replay."""
