"""A pseudonym needs its key, and is the same wherever the value is met."""

import pytest

from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, key_from_environment, pseudonym


def test_a_pseudonym_is_hmac_sha256() -> None:
    # Test case 2 of RFC 4231.
    assert (
        pseudonym("what do ya want for nothing?", "Jefe")
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert pseudonym("anna", "one key") != pseudonym("anna", "another key")


@pytest.mark.parametrize("key", [None, "", "short"])
def test_a_key_that_can_be_guessed_is_refused(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key is None:
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(ValueError, match=KEY_VARIABLE):
        key_from_environment()
