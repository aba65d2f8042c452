"""Who may ask and how much, and which bundles are trusted to answer; see `serving.access`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from serving.access import tls
from serving.access.keys import ApiKeys, parse_api_keys, read_key_file
from serving.bundle.signature import Trust, parse_digests, parse_public_keys
from serving.settings.declared import Concern, Given


def _read_by(parse: Callable[[str], Any]) -> BeforeValidator:
    """Read text as a list of the kind that `parse` reads."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


class AccessSettings(Concern):
    """Keys, trust, limits and TLS.

    Attributes:
        trusted_keys: 32 bytes each, by their id.
        api_keys: Names by the SHA-256 of their keys, 32 bytes.
    """

    trusted_keys: Annotated[dict[str, bytes], _read_by(parse_public_keys), Given(secret=True)] = (
        Field(
            default={},
            description="public keys that may sign bundles, base64, comma separated; with one, "
            "bundles must be signed",
        )
    )
    trusted_keys_file: Path | None = Field(
        default=None, description="a file with public keys that may sign bundles, one a line"
    )
    allowed_digests: Annotated[frozenset[str], _read_by(parse_digests)] = Field(
        default=frozenset(),
        description="bundles that are served without a signature, comma separated",
    )
    api_keys: Annotated[dict[bytes, str], _read_by(parse_api_keys), Given(secret=True)] = Field(
        default={}, repr=False, description="who may ask: name:sha256, comma separated"
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="a file that says who may ask, one a line; read again when it changes",
    )
    insecure_no_api_keys: bool = Field(
        default=False,
        description="true: answer everybody, on an address that others can reach, too",
    )
    open_metrics: bool = Field(default=False, description="true: /metrics needs no API key")
    rate: Annotated[float | None, Given(default="no limit")] = Field(
        default=None,
        ge=0.01,
        le=1e6,
        description="requests a second for each client, over all workers",
    )
    burst: Annotated[int | None, Given(default="2 s of the rate")] = Field(
        default=None, ge=1, le=10**6, description="requests at once for each client"
    )
    largest_body: int = Field(
        default=1 << 20, ge=1 << 10, le=1 << 24, description="bytes that a request's body may have"
    )
    body_seconds: float = Field(
        default=20.0, ge=1.0, le=300.0, description="within which a request must have arrived"
    )
    tls_certificate: Path | None = Field(default=None, description="serve HTTPS with this PEM file")
    tls_key: Path | None = Field(
        default=None, description="the key of the certificate, PEM without a passphrase"
    )
    tls_client_ca: Path | None = Field(
        default=None,
        description="let in only clients with a certificate of these authorities, PEM",
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        """Refuse to start where a file is wrong, and nobody would notice before it is needed."""
        self.trust()
        ApiKeys(self.api_keys, self.api_keys_file)
        tls.uvicorn_options(self.tls_certificate, self.tls_key, self.tls_client_ca)
        return self

    def trust(self) -> Trust:
        """Who may vouch for a bundle.

        Raises:
            ValueError: The file of keys cannot be read, or holds something else.
        """
        path, keys = self.trusted_keys_file, self.trusted_keys
        if path is not None:
            keys = {**keys, **read_key_file(path, parse_public_keys)}
        return Trust(keys, self.allowed_digests)

    @property
    def requests_at_once(self) -> int:
        """How many requests of a client may come at once, where they have a rate."""
        return self.burst or math.ceil(2 * (self.rate or 0))
