import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.bundle.manifest import BUNDLE_FILES, BundleError, content_digest, file_digest, verify
from tests.serving.bundles import Built, digest_of


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    """A copy of a good bundle, to be broken."""
    return Path(shutil.copytree(built.folder, tmp_path / "bundle"))


def test_good_bundle_gives_its_manifest(built: Built) -> None:
    manifest = verify(built.folder, built.digest)
    assert manifest["files"].keys() == BUNDLE_FILES
    assert content_digest(manifest) == built.digest == digest_of(manifest)


def test_digest_ignores_provenance_and_key_order_and_nothing_else() -> None:
    manifest = {"a": 1, "b": {"ü": [1.5, None]}, "provenance": {"run": "1"}}
    assert content_digest(manifest) == content_digest({"b": {"ü": [1.5, None]}, "a": 1})
    assert content_digest(manifest) != content_digest({**manifest, "a": 2})
    assert content_digest({}) == (
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", sorted(BUNDLE_FILES))
def test_flipped_bit_is_found_in_every_file(copy: Path, built: Built, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    expected = file_digest(copy / name)
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError) as error:
        verify(copy, built.digest)
    for part in (name, expected, file_digest(copy / name)):
        assert part in str(error.value)


def test_changed_manifest_is_found(copy: Path, built: Built) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["threshold"] = 0.4
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"expected content digest {built.digest}, found"):
        verify(copy, built.digest)


def test_changed_provenance_is_the_same_bundle(copy: Path, built: Built) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["provenance"] = {"created_at": "another day"}
    path.write_text(json.dumps(manifest))
    assert verify(copy, built.digest)["provenance"] == {"created_at": "another day"}


def rewrite(change: Callable[[dict[str, dict[str, str]]], object]) -> Callable[[Path], str]:
    """Change the manifest's files and give it the digest it then has."""

    def do(folder: Path) -> str:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest["files"])
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return digest_of(manifest)

    return do


def as_link(folder: Path) -> None:
    (folder / "features.sql").rename(folder.parent / "elsewhere.sql")
    (folder / "features.sql").symlink_to(folder.parent / "elsewhere.sql")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rewrite(lambda files: files.pop("model.onnx")), r"'files': missing model\.onnx"),
        (
            rewrite(lambda files: files.update({"../../secret": {"sha256": "0" * 64}})),
            r"'files': not a bundle file: '\.\./\.\./secret'",
        ),
        (
            rewrite(lambda files: files.update({"model.pkl": {"sha256": "0" * 64}})),
            r"'files': not a bundle file: 'model\.pkl'",
        ),
        (rewrite(lambda files: files["model.onnx"].clear()), r"files\['model\.onnx'\] has no sha"),
        (lambda folder: (folder / "model.onnx").unlink(), r"missing model\.onnx"),
        (lambda folder: (folder / "golden.parquet").unlink(), r"missing golden\.parquet"),
        (lambda folder: (folder / "extra.py").write_text("") and None, r"bundle file: 'extra\.py'"),
        (as_link, r"features\.sql: not a plain file"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json: missing"),
        (lambda folder: (folder / "manifest.json").write_text("[]") and None, "expected a JSON ob"),
        (lambda folder: (folder / "manifest.json").write_text("{") and None, "cannot be read"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"schema_version": 2}') and None,
            "expected schema_version 1, found 2",
        ),
        (shutil.rmtree, r"manifest\.json: missing"),
    ],
)
def test_refused(
    copy: Path, built: Built, change: Callable[[Path], str | None], message: str
) -> None:
    digest = change(copy)
    with pytest.raises(BundleError, match=message):
        verify(copy, digest if isinstance(digest, str) else built.digest)
