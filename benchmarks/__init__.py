"""Benchmarks; nothing else in the project imports them."""
