"""Judging a version by what the app counted of it: pure functions of numbers."""
