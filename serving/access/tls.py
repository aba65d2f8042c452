"""TLS: the files are tried before the server listens, so that a wrong one is one line at start."""

import ssl
from pathlib import Path
from typing import Any


class _EncryptedKeyError(Exception):
    """The key has a passphrase; without this, OpenSSL would ask for it on the terminal."""


def uvicorn_options(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> dict[str, Any]:
    """The options of `uvicorn.Config` for these files; none without a certificate.

    Args:
        certificate: PEM, with the certificates between it and the root.
        key: PEM, without a passphrase.
        client_ca: PEM; only clients with a certificate of one of these are let in.

    Raises:
        ValueError: A file is missing, or is not what it should be.
    """
    if certificate is None or key is None:
        if certificate or key or client_ca:
            raise ValueError("TLS needs both --tls-certificate and --tls-key")
        return {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for path in (certificate, key, client_ca):
        if path is not None and not path.is_file():
            raise ValueError(f"TLS: {path}: no such file")
    try:
        context.load_cert_chain(certificate, key, _no_passphrase)
    except _EncryptedKeyError:
        raise ValueError(f"TLS: {key}: has a passphrase; give a key without one") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"TLS: {key} is not the key of {certificate}") from None
        raise ValueError(
            f"TLS: {certificate} and {key} are not a certificate and its key in PEM"
        ) from None
    except OSError as error:
        raise ValueError(f"TLS: {certificate}, {key}: {error.strerror}") from None
    options: dict[str, Any] = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError:  # ssl.SSLError is one
            raise ValueError(f"TLS: {client_ca}: holds no certificate in PEM") from None
        options |= {"ssl_ca_certs": str(client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


def _no_passphrase() -> str:
    raise _EncryptedKeyError
