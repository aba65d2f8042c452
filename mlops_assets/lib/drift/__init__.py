"""Drift: whether new rows still look like those that a version was trained on."""
