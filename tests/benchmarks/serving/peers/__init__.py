"""Other servers of the same model: what a user of each would write, and nothing more."""
