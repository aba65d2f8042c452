"""The training set: the frozen union of accepted batches, with a split that can be explained."""
