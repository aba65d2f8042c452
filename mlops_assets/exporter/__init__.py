"""Metrics of the platform for Prometheus, computed when it scrapes."""
