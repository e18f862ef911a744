"""The surface and the composition root: MCP, HTTP, command line, workers, stores of runs."""
