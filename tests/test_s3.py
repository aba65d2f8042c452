"""The store that the other tests rest on: what S3 clients count on holds."""

import pytest

from tests.s3 import Seaweed


def test_the_store_keeps_objects_and_lets_nobody_else_in(seaweed: Seaweed) -> None:
    from s3fs import S3FileSystem

    bucket, store = seaweed.bucket(), seaweed.filesystem()
    store.pipe(f"{bucket}/folder/a.csv", b"age\n1\n")
    assert store.cat(f"{bucket}/folder/a.csv") == b"age\n1\n"
    assert store.info(f"{bucket}/folder/a.csv")["ETag"]
    stranger = S3FileSystem(
        key=seaweed.key, secret="wrong", endpoint_url=seaweed.endpoint, skip_instance_cache=True
    )
    with pytest.raises(PermissionError):
        stranger.ls(bucket)
