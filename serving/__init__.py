"""The prediction service.

Kept apart from `mlops_assets` so that production runs without the training stack: this package
imports FastAPI, DuckDB, ONNX Runtime and the standard library, and nothing that can unpickle.
Importing the package itself costs nothing; `serving.bundle.manifest` needs the standard library
only.
"""
