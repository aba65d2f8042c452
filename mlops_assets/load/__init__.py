"""Load tests of a serving app: how fast it answers, how it fails, and whether it is ever wrong."""

from mlops_assets.load.payloads import Payloads
from mlops_assets.load.report import Limits, Report
from mlops_assets.load.tester import LoadTester

__all__ = ["Limits", "LoadTester", "Payloads", "Report"]
