"""The code location: everything under ``mlops_assets/defs``."""

import dagster as dg

from mlops_assets.home import PROJECT
from mlops_assets.lib.features.feature_check import check_features
from mlops_assets.lib.spec.specs import load_documents


@dg.definitions
def defs() -> dg.Definitions:
    """Load every use case and the resources they share."""
    # Before the component reads them: a mistake is named with its file, line and field.
    for document, spec in load_documents().values():
        check_features(document, spec)
    return dg.load_from_defs_folder(path_within_project=PROJECT)
