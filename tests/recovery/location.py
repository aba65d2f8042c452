"""The code location of these tests: a quick graph of heart disease, with the points in place."""

import dagster as dg

from tests.platform import quick_definitions
from tests.recovery.points import install


@dg.definitions
def defs() -> dg.Definitions:
    """What the daemon and the processes of runs load."""
    install()
    return quick_definitions()
