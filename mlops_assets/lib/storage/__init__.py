"""The storage: the one place of every byte of data, a local folder or a bucket."""
