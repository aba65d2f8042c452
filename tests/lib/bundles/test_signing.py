import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mlops_assets.lib.bundles import signing
from mlops_assets.lib.bundles.signing import (
    SigningKey,
    key_from_environment,
    sign_stored,
    write_signature,
)
from mlops_assets.lib.storage.root import Storage
from serving.bundle.manifest import SIGNATURE, BundleError
from serving.bundle.signature import (
    Trust,
    is_valid,
    parse_public_keys,
    read_signature,
    signed_bytes,
)

DIGEST = "ab" * 32


def test_the_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signing.KEY_VARIABLE, raising=False)
    assert key_from_environment() is None
    key = SigningKey.new()
    file = tmp_path / "key"
    file.write_text(key.private + "\n")
    monkeypatch.setenv(signing.FILE_VARIABLE, str(file))
    found = key_from_environment()
    assert found is not None
    assert found.id == key.id
    other = SigningKey.new()
    monkeypatch.setenv(signing.KEY_VARIABLE, other.private)
    found = key_from_environment()
    assert found is not None
    assert found.id == other.id


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


def test_openssl_and_this_agree(tmp_path: Path) -> None:
    file, message, signature = (tmp_path / name for name in ("key", "message", "signature"))
    subprocess.run(f"openssl genpkey -algorithm ed25519 -out {file}".split(), check=True)
    key = SigningKey.parse(file.read_text())
    message.write_bytes(signed_bytes(DIGEST))
    command = f"openssl pkeyutl -sign -inkey {file} -rawin -in {message} -out {signature}"
    subprocess.run(command.split(), check=True)
    assert signature.read_bytes() == key.sign(DIGEST).value
    assert SigningKey.parse(key.private).id == key.id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c2VjcmV0", "MLOPS_SIGNING_KEY is neither the base64 of 32 bytes nor PEM"),
        ("s\u00e9cret c2VjcmV0", "neither the base64"),
        ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0", "not a private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "of another kind than Ed25519"),
        (pem(ed25519.Ed25519PrivateKey.generate(), b"x"), "without a passphrase"),
    ],
)
def test_no_key_is_repeated(monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.setenv(signing.KEY_VARIABLE, text)
    with pytest.raises(ValueError, match=message) as error:
        key_from_environment()
    assert "c2VjcmV0" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_file_that_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signing.KEY_VARIABLE, raising=False)
    monkeypatch.setenv(signing.FILE_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"MLOPS_SIGNING_KEY_FILE=.*none cannot be read: No such"):
        key_from_environment()


def test_a_published_bundle_is_signed_and_signed_anew(tmp_path: Path) -> None:
    store = Storage(tmp_path)
    with store.writing("bundles/x") as partial:
        partial.mkdir()
    folder = store.local("bundles/x")
    first, second = SigningKey.new(), SigningKey.new()
    assert signing.said_of(folder, None, DIGEST) == (True, "not signed")
    assert signing.said_of(folder, first, DIGEST)[0] is False
    for key in (first, first, second):
        sign_stored(key, DIGEST, store, "bundles/x")
        found = read_signature(folder)
        assert found is not None
        assert is_valid(found, base64.b64decode(key.public), DIGEST)
        assert Trust(parse_public_keys(key.public)).check(folder, DIGEST)
        assert signing.said_of(folder, key, DIGEST) == (True, f"signed by the key {key.id}")
    assert signing.said_of(folder, None, DIGEST) == (True, f"signed by the key {second.id}")
    assert signing.said_of(folder, first, DIGEST)[0] is False
    # Before publication it is the same file.
    shutil.copytree(folder, tmp_path / "copy")
    write_signature(second, DIGEST, tmp_path / "copy")
    assert (tmp_path / "copy" / SIGNATURE).read_bytes() == (folder / SIGNATURE).read_bytes()
    (folder / SIGNATURE).write_text("junk")
    with pytest.raises(BundleError):
        signing.said_of(folder, second, DIGEST)
    sign_stored(second, DIGEST, store, "bundles/x")
    assert signing.said_of(folder, second, DIGEST)[0] is True
