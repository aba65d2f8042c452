"""The code location: everything under ``mlops_assets/defs``."""

import warnings

import dagster as dg
from pydantic import PydanticDeprecatedSince20

from mlops_assets.home import PROJECT
from mlops_assets.lib.features.feature_check import check_features
from mlops_assets.lib.spec.specs import DEFS, load_documents


@dg.definitions
def defs() -> dg.Definitions:
    """Load every use case and the resources they share."""
    # Before the component reads them: a mistake is named with its file, line and field.
    for document, spec in load_documents().values():
        check_features(document, spec)
    # Not `dg.load_from_defs_folder`: it imports every package that has components to offer, only to
    # describe them in the UI, and more than doubles what each run pays to load its code.
    with warnings.catch_warnings():
        # Of what it does by itself, which `dg.load_from_defs_folder` does as quietly.
        for each in (dg.PreviewWarning, dg.BetaWarning, PydanticDeprecatedSince20):
            warnings.simplefilter("ignore", each)
        tree = dg.ComponentTree.for_project(PROJECT)
        return dg.Definitions.merge(tree.build_defs(DEFS), dg.Definitions(component_tree=tree))
