"""What models here can do, as tools for programs that speak MCP."""
