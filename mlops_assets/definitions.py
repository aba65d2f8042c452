"""The code location: everything under ``mlops_assets/defs``."""

import dagster as dg
from dagster._utils.warnings import suppress_dagster_warnings

from mlops_assets.home import PROJECT
from mlops_assets.lib.features.feature_check import check_features
from mlops_assets.lib.spec.specs import DEFS, load_documents


@dg.definitions
@suppress_dagster_warnings
def defs() -> dg.Definitions:
    """Load every use case and the resources they share."""
    # Before the component reads them: a mistake is named with its file, line and field.
    for document, spec in load_documents().values():
        check_features(document, spec)
    # Not `dg.load_from_defs_folder`: it imports every package that has components to offer, only to
    # describe them in the UI, and more than doubles what each run pays to load its code.
    tree = dg.ComponentTree.for_project(PROJECT)
    return dg.Definitions.merge(tree.build_defs(DEFS), dg.Definitions(component_tree=tree))
