"""Challenger against champion: the same rows, a paired statistic, a verdict, and what it allows."""
