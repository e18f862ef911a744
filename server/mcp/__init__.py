"""The MCP surface: one server, built by `make_mcp_server`, for both protocol eras and every transport."""
