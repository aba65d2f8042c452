"""Saves the model as MLflow does: FOLDER and FORM (scikit-learn or onnx) are given."""

import sys
from pathlib import Path

folder, form = Path(sys.argv[1]), sys.argv[2]
if form == "onnx":
    import mlflow.onnx
    import onnx

    mlflow.onnx.save_model(onnx.load(folder / "model.onnx"), folder / "mlflow-onnx")
else:
    import joblib
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        joblib.load(folder / "model.joblib"),
        folder / "mlflow-scikit-learn",
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )
