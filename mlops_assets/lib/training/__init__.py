"""From a training set to a candidate: algorithms, folds, search, and the ONNX form."""
