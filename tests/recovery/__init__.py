"""Faults on purpose: processes killed at named points, and the state that must come out of it."""
