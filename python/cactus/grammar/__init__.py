"""Answers that keep to a grammar: formats, their compilation, and what a lane may say next."""
