"""The agent loop: one workflow per run, turn by turn, with references only in its history."""
