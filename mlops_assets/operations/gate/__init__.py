"""``mlops gate``: data to verdict in one process and a folder of its own, with a report for CI."""
