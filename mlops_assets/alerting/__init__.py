"""Telling people what needs them: what is wrong by now, told once, and again when it is over."""
