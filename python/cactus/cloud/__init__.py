"""Asking a larger model elsewhere: who, with which key, over which connection."""
