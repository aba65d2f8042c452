-- Beside the one for Dagster, which the image makes.
CREATE DATABASE mlflow;
