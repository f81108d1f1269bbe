"""Joins as a user runs them: what is held back, refused, late, cut off, or another's."""
