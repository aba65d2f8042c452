"""What the app has counted, from Prometheus: where many pods serve, or none can be asked.

Values are asked for as they were last scraped, and not by ``increase()``: a counter that comes into
being during a step begins at zero, and that function would leave out its first scrape.
"""

import os
import urllib.error
from collections import defaultdict
from urllib.parse import urlencode

from mlops_assets.lib.http import call
from mlops_assets.lib.rollout_analysis.counters import NAMES, Counters, series
from mlops_assets.resources.rollout_target import TargetError

URL_VARIABLE = "MLOPS_PROMETHEUS_URL"
# More that a series must have, where one Prometheus knows several environments.
SELECTOR_VARIABLE = "MLOPS_PROMETHEUS_SELECTOR"


def counters(url: str, use_case: str) -> dict[str, Counters]:
    """What has been counted of a use case, by scraped server.

    Args:
        url: Of Prometheus.
        use_case: Whose counters.

    Raises:
        TargetError: If Prometheus does not answer, or does not understand the selector.
    """
    more = os.environ.get(SELECTOR_VARIABLE)
    wanted = [f'__name__=~"{"|".join(NAMES)}"', f'use_case="{use_case}"', *([more] if more else [])]
    query = urlencode({"query": f"{{{','.join(wanted)}}}"})
    try:
        # The key of the serving app is not for others.
        headers = {"x-api-key": ""}
        answer = call(f"{url.rstrip('/')}/api/v1/query?{query}", timeout=10.0, headers=headers)
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace")[:300]
        raise TargetError(f"Prometheus at {url} answered {error.code}: {said}") from error
    except (OSError, ValueError) as error:
        raise TargetError(f"Prometheus at {url} did not answer: {error}") from error
    found: dict[str, Counters] = defaultdict(dict)
    for each in answer["data"]["result"]:
        labels = each["metric"]
        found[labels.get("instance", "")][series(labels["__name__"], labels)] = float(
            each["value"][1]
        )
    return dict(found)
