"""The tables of runs, events, tasks, audit, effects and secrets, and the ports of the engine over them."""
