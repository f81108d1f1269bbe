"""Measurements; nothing in the project imports this."""
