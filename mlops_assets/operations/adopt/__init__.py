"""Adopting: a version that serves in another environment becomes one of this."""
