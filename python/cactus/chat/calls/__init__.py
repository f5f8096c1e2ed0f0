"""Calls of tools as models write them: each family's syntax, written and read."""
