"""The contract: what the columns of a use case are, said once."""
