"""The record of every answer, and of what turned out to be true, on its way to Parquet."""
