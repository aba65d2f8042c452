"""Writes the manifest of Prometheus' rules from the rules; a test finds one that is old.

python -m tests.deploy.prometheus_rule
"""

import textwrap

from tests.deploy.tools import DEPLOY

RULES = DEPLOY / "monitoring" / "rules" / "serving.yaml"
MANIFEST = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheus-rule.yaml"
HEAD = """\
# deploy/monitoring/rules/serving.yaml for the Prometheus operator. Made by
# `python -m tests.deploy.prometheus_rule`; change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: serving
spec:
"""


def manifest() -> str:
    """The whole file: the text of the rules, set in, so that it reads the same."""
    text = RULES.read_text(encoding="utf-8")
    groups = text[text.index("groups:") :]
    return HEAD + textwrap.indent(groups, "  ")


if __name__ == "__main__":
    MANIFEST.write_text(manifest(), encoding="utf-8")
