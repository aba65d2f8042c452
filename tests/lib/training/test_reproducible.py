"""The same rows give the same bytes in another process, whose hashes have another order."""

import os
import subprocess
import sys

TRAIN = """
import hashlib
import numpy as np
from mlops_assets.lib.training.onnx_model import convert
from mlops_assets.lib.training.train import train
from mlops_assets.lib.spec.training_plan import Training

plan = Training.model_validate({
    "outer_folds": 2, "inner_folds": 2, "trials": 1,
    "candidates": {
        "logistic_regression": {},
        "random_forest": {"fixed": {"n_estimators": 5}},
        "gradient_boosting": {"fixed": {"max_iter": 5}},
        "xgboost": {"fixed": {"n_estimators": 5}},
        "stacked_ensemble": {},
    },
})
random = np.random.default_rng(0)
features = random.normal(size=(120, 4)).astype(np.float32)
features[random.random(features.shape) < 0.1] = np.nan
target = (np.nan_to_num(features[:, 0]) + random.normal(size=120) > 0).astype(float)
chosen = {}
for algorithm in plan.candidates:
    trained = train(algorithm, features, target, plan, chosen)
    chosen |= {} if algorithm == "stacked_ensemble" else {algorithm: trained.chosen}
    model = convert(trained.estimator, 4)
    print(algorithm, hashlib.sha256(model).hexdigest(), trained.out_of_fold.tobytes().hex()[:64])
"""


def test_every_candidate_is_the_same_in_every_process() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", TRAIN],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    ]
    assert said[0] == said[1] == said[2]
    assert len(said[0].splitlines()) == 5
