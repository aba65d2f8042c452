"""From a landed file of any format to a Parquet file of text, without losing a line."""
