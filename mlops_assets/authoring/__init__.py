"""A new use case: a look at a sample of its data, and the three files drafted from it."""
