"""Writes the manifest of Prometheus' rules from the rules; a test finds one that is old.

python -m tests.deploy.prometheus_rule
"""

import textwrap

from tests.deploy.tools import DEPLOY

RULES = DEPLOY / "monitoring" / "rules" / "serving.yaml"
PLATFORM_RULES = RULES.with_name("platform.yaml")
MANIFEST = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheus-rule.yaml"
HEAD = """\
# deploy/monitoring/rules/serving.yaml and platform.yaml for the Prometheus operator. Made by
# `python -m tests.deploy.prometheus_rule`; change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: serving
spec:
  groups:
"""


def manifest() -> str:
    """The whole file: the text of the rules, set in, so that it reads the same."""
    texts = [path.read_text(encoding="utf-8") for path in (RULES, PLATFORM_RULES)]
    groups = [text[text.index("groups:\n") + len("groups:\n") :] for text in texts]
    return HEAD + textwrap.indent("\n".join(groups), "  ")


if __name__ == "__main__":
    MANIFEST.write_text(manifest(), encoding="utf-8")
