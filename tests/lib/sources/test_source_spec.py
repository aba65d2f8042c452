from typing import Any

import pytest
from pydantic import ValidationError

from mlops_assets.lib.spec.use_case import UseCase
from tests.platform import quick_spec

FILES = {"name": "a", "kind": "files", "url": "s3://bucket/*.csv"}
HTTP = {"name": "a", "kind": "http", "url": "https://data.test/a.csv"}
CRM = {"name": "a", "kind": "database", "url_env": "CRM", "watermark": "at", "start": 0}
MADE = {"name": "a", "kind": "synthetic", "generator": "churn"}


def spec(*sources: dict[str, Any]) -> UseCase:
    attributes = quick_spec().model_dump(mode="json", exclude_unset=True)
    return UseCase.model_validate(attributes | {"sources": list(sources)})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({**HTTP, "url": "https://ann:hunter2@data.test/a.csv"}, "holds a user or a password"),
        ({**HTTP, "url": "https://data.test/a.csv?access_token=hunter2"}, "'access_token' looks"),
        ({**FILES, "url": "s3://ann:hunter2@bucket/a"}, "holds a user or a password"),
        ({**FILES, "url": "https://data.test/a.csv"}, "use kind: http"),
        ({**FILES, "url": "data/*.csv"}, "an absolute path or s3://bucket"),
        ({**FILES, "key_env": "KEY"}, "key_env and secret_env belong together"),
        ({**FILES, "url": "/data", "endpoint_env": "E"}, "are for s3:// only"),
        ({**FILES, "key_env": "not a name"}, "should match pattern"),
        ({**HTTP, "url": "ftp://data.test/a.csv"}, "http:// or https:// and a host"),
        ({**HTTP, "sha256": "abc"}, "should match pattern"),
        ({**HTTP, "max_bytes": 0}, "greater than or equal to 1"),
        ({**CRM, "query": "select 1"}, "must select the rows above :watermark"),
        ({**MADE, "generator": "nothing"}, "there is no 'nothing'; there are: churn"),
        ({**MADE, "options": {"seed": 1}}, "seed is set beside options"),
        ({**MADE, "options": {"colour": 1}}, "Extra inputs are not permitted"),
        ({**MADE, "kind": "fax"}, "does not match any of the expected tags"),
        ({**FILES, "schedule": "61 * * * *"}, "'61 * * * *' is no schedule: Bad minute"),
        ({**FILES, "schedule": "@daily"}, "'@daily' has 1 fields; a schedule has five"),
        ({**MADE, "name": "no/folder"}, "should match pattern"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as e:
        spec(source)
    assert said in str(e.value)
    assert "hunter2" not in str(e.value)


def test_sources_have_names_of_their_own() -> None:
    assert [source.name for source in spec({**FILES, "name": "b"}, HTTP).sources] == ["b", "a"]
    with pytest.raises(ValidationError, match="sources and labels: two have the name a"):
        spec(FILES, HTTP)
