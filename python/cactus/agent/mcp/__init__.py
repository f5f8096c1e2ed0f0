"""Tools of MCP servers, which are other programs: within limits of time and size."""
