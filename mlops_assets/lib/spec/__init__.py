"""The spec of a use case: its parts, its file, and where specs are found."""
