"""The code location: everything under ``mlops_assets/defs``."""

import dagster as dg

from mlops_assets.home import PROJECT


@dg.definitions
def defs() -> dg.Definitions:
    """Load every use case and the resources they share."""
    return dg.load_from_defs_folder(path_within_project=PROJECT)
