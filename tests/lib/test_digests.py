import hashlib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.digests import digest_of, file_digest, short

# Without floats and booleans, Python calls two of these equal exactly when they are the same JSON.
JSON = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [backwards(item) for item in value]
    return value


@given(JSON)
@settings(deadline=None, derandomize=True)
def test_order_of_keys_does_not_matter(value: Any) -> None:
    assert digest_of([value]) == digest_of([backwards(value)])


@given(JSON, JSON)
@settings(deadline=None, derandomize=True)
def test_different_values_differ(left: Any, right: Any) -> None:
    assert (digest_of([left]) == digest_of([right])) == (left == right)


def test_digest_is_the_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256('{"a":[1,"é"],"b":null}'.encode()).hexdigest()
    assert digest_of({"b": None, "a": [1, "é"]}) == expected


def test_order_of_a_list_matters() -> None:
    assert digest_of([1, 2]) != digest_of([2, 1])


def test_number_and_its_text_differ() -> None:
    assert len({digest_of([1]), digest_of(["1"]), digest_of([1.5]), digest_of([True])}) == 4


def test_file_is_digested_by_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_short_digest_has_twelve_characters() -> None:
    assert short("0123456789abcdef" * 4) == "0123456789ab"
