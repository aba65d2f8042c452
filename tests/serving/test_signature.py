import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serving.bundle.loaded import Bundle
from serving.bundle.manifest import SIGNATURE, BundleError, verify
from serving.bundle.signature import Trust, key_id, parse_public_keys
from serving.settings import SettingsError, load_settings
from tests.serving.bundles import USE_CASE, Built, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def public(*keys: Ed25519PrivateKey) -> str:
    return ",".join(base64.b64encode(k.public_key().public_bytes_raw()).decode() for k in keys)


TRUST = Trust(parse_public_keys(public(KEY)))
ID = key_id(KEY.public_key().public_bytes_raw())
OTHER_ID = key_id(OTHER.public_key().public_bytes_raw())


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.folder, tmp_path / "bundle"))


def test_a_signed_bundle_is_the_same_bundle(copy: Path, built: Built) -> None:
    before = verify(copy, built.digest)
    sign(copy, built.digest, KEY)
    assert verify(copy, built.digest) == before
    assert TRUST.check(copy, built.digest) == f"the signature of key {ID}"
    assert Bundle.load(copy, built.digest, USE_CASE, TRUST).golden_rows > 0
    # While keys change, both are trusted; a bundle signed by either is served.
    both = Trust(parse_public_keys(f"# old\n{public(OTHER)}\n{public(KEY)} # new\n"))
    assert both.check(copy, built.digest) == f"the signature of key {ID}"
    sign(copy, built.digest, OTHER)
    assert both.check(copy, built.digest) == f"the signature of key {OTHER_ID}"
    # Where nobody is trusted in particular, a signature is not even read.
    (copy / SIGNATURE).write_text("junk")
    assert Trust().check(copy, built.digest) is None


def rewrite(**changes: Any) -> Callable[[Path, str], None]:
    def do(folder: Path, digest: str) -> None:
        sign(folder, digest, KEY)
        record = json.loads((folder / SIGNATURE).read_text())
        (folder / SIGNATURE).write_text(json.dumps({**record, **changes}))

    return do


def flipped(folder: Path, digest: str) -> None:
    sign(folder, digest, KEY)
    record = json.loads((folder / SIGNATURE).read_text())
    value = bytearray(base64.b64decode(record["signature"]))
    value[40] ^= 1
    rewrite(signature=base64.b64encode(value).decode())(folder, digest)


def as_link(folder: Path, digest: str) -> None:
    sign(folder, digest, KEY)
    (folder / SIGNATURE).rename(folder.parent / "elsewhere")
    (folder / SIGNATURE).symlink_to(folder.parent / "elsewhere")


def raw(content: bytes) -> Callable[[Path, str], object]:
    return lambda folder, digest: (folder / SIGNATURE).write_bytes(content)


def without_domain(folder: Path, digest: str) -> None:
    value = base64.b64encode(KEY.sign(bytes.fromhex(digest))).decode()
    rewrite(signature=value)(folder, digest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder, digest: None, "manifest.sig: missing; only signed bundles are served"),
        (lambda folder, digest: sign(folder, digest, OTHER), f"key {OTHER_ID}, which is not tru"),
        (lambda folder, digest: sign(folder, "0" * 64, KEY), "not the signature of bundle"),
        (flipped, "not the signature of bundle"),
        (without_domain, "not the signature of bundle"),
        (rewrite(key=OTHER_ID), f"trusted: {ID}"),
        (rewrite(key=ID.upper()), "'key' is not an id"),
        (rewrite(key=[ID]), "'key' is not an id"),
        (rewrite(algorithm="none"), "algorithm 'ed25519'"),
        (rewrite(signature=base64.b64encode(bytes(63)).decode()), "the base64 of 64 bytes"),
        (rewrite(signature=base64.b64encode(bytes(65)).decode()), "the base64 of 64 bytes"),
        (rewrite(signature="é" * 88), "the base64 of 64 bytes"),
        (rewrite(signature=None), "the base64 of 64 bytes"),
        (raw(b""), "manifest.sig: Expecting value"),
        (raw(b"\xff\xfe"), "manifest.sig: "),
        (raw(b"[]"), "expected a JSON object"),
        (raw(b"[" * 4000), "manifest.sig: "),
        (raw(b" " * 5000), "5000 bytes, at most 4096"),
        (as_link, "not a plain file"),
        (lambda folder, digest: (folder / SIGNATURE).mkdir(), "not a plain file"),
    ],
)
def test_refused(
    copy: Path, built: Built, change: Callable[[Path, str], object], message: str
) -> None:
    change(copy, built.digest)
    with pytest.raises(BundleError, match=message) as error:
        Bundle.load(copy, built.digest, USE_CASE, TRUST)
    assert "\n" not in str(error.value)


def test_a_signature_does_not_help_a_changed_bundle(copy: Path, built: Built) -> None:
    sign(copy, built.digest, KEY)
    (copy / "features.sql").write_text("select 1")
    with pytest.raises(BundleError, match=r"features\.sql: expected sha256"):
        Bundle.load(copy, built.digest, USE_CASE, TRUST)


def test_a_list_of_digests_stands_for_signatures(copy: Path, built: Built) -> None:
    listed = Trust(digests=frozenset({built.digest}))
    assert listed.check(copy, built.digest) == "the list of digests"
    with pytest.raises(BundleError, match=f"digest {'0' * 64} is not on the list"):
        listed.check(copy, "0" * 64)
    both = Trust(TRUST.keys, listed.digests)
    assert both.check(copy, built.digest) == "the list of digests"
    with pytest.raises(BundleError, match="only signed bundles"):
        both.check(copy, "0" * 64)


def test_production_does_not_start_without_trust(tmp_path: Path) -> None:
    environ = {"SERVING_USE_CASE": USE_CASE, "MLOPS_ENVIRONMENT": "production"}
    with pytest.raises(SettingsError, match="'production' serves only bundles that") as error:
        load_settings([], environ)
    assert "\n" not in str(error.value)
    for given in (
        {"SERVING_TRUSTED_KEYS": public(KEY, OTHER)},
        {"SERVING_ALLOWED_DIGESTS": "0" * 64},
    ):
        assert load_settings([], environ | given).trust()
    file = tmp_path / "keys"
    file.write_text(f"{public(KEY)}\n{public(OTHER)}\n")
    settings = load_settings(["--trusted-keys-file", str(file)], environ)
    assert settings.trust().keys.keys() == {ID, OTHER_ID}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SERVING_TRUSTED_KEYS": "c2VjcmV0"}, "SERVING_TRUSTED_KEYS: key 1 is not the base64 of"),
        ({"SERVING_TRUSTED_KEYS": public(KEY) + ",c2VjcmV0"}, "key 2 is not the base64"),
        ({"SERVING_ALLOWED_DIGESTS": "c2VjcmV0"}, "entry 1 is not a digest"),
        ({"SERVING_TRUSTED_KEYS_FILE": "{here}/missing"}, "missing: cannot be read: No such file"),
        ({"SERVING_TRUSTED_KEYS_FILE": "{here}/junk"}, "junk: key 1 is not the base64"),
        ({"SERVING_TRUSTED_KEYS_FILE": "{here}/empty"}, "empty: holds no key"),
        ({"SERVING_TRUSTED_KEYS_FILE": "{here}/bytes"}, "bytes: not UTF-8"),
        ({"SERVING_API_KEYS": "me:c2VjcmV0"}, "SERVING_API_KEYS: entry 1 is not of the form"),
        ({"SERVING_API_KEYS_FILE": "{here}/junk"}, "junk: entry 1 is not of the form name:sha256"),
        ({"SERVING_API_KEYS_FILE": "{here}/empty"}, "empty: holds no key"),
        ({"SERVING_HOST": "0.0.0.0"}, "host 0.0.0.0 can be reached by others: set SERVING_API_KEY"),
        ({"SERVING_HOST": "::"}, "host :: can be reached"),
        ({"SERVING_HOST": "localhost.evil.example"}, "can be reached by others"),
        ({"SERVING_RATE": "0"}, "--rate or SERVING_RATE = '0'"),
    ],
)
def test_wrong_settings_are_one_line_without_a_secret(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    (tmp_path / "junk").write_text("c2VjcmV0")
    (tmp_path / "empty").write_text("# nothing yet\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    given = {k: v.format(here=tmp_path) for k, v in variables.items()}
    with pytest.raises(SettingsError, match=message) as error:
        load_settings([], {"SERVING_USE_CASE": USE_CASE, **given})
    assert "\n" not in str(error.value)
    if "SERVING_ALLOWED_DIGESTS" not in variables:
        assert "c2VjcmV0" not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load_settings(["--use-case", USE_CASE, "--host", host], {}).host == host
