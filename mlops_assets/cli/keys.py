"""Commands that make keys: for signing bundles, and for asking the serving app."""

import argparse
import hashlib
import os
import re
import secrets
from pathlib import Path

from mlops_assets.cli.commands import Commands
from mlops_assets.lib.bundles import signing

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add(commands: Commands) -> None:
    """Declare the commands."""
    keys = commands.add_parser("keys", help="make a key that signs bundles, or one for a client")
    kinds = keys.add_subparsers(required=True, metavar="KIND")

    new = kinds.add_parser("new", help="a key pair: training signs bundles, serving knows them")
    new.add_argument("file", type=Path, help="a new file for the private half")
    new.set_defaults(run=_new)

    api = kinds.add_parser("api", help="an API key of the serving app")
    api.add_argument("name", help="of the client; shown in logs")
    api.set_defaults(run=_api)


def _new(options: argparse.Namespace) -> int:
    key = signing.SigningKey.new()
    # Readable by its owner only, from its first byte, and never over a key that may be in use.
    try:
        descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(
            f"{options.file} is there already, and may be a key in use; name a new file"
        ) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.private + "\n")
    print(f"key {key.id}")
    print(
        f"private half, where bundles are made: {signing.FILE_VARIABLE}={options.file.absolute()}"
    )
    print(f"public half, where they are served:   SERVING_TRUSTED_KEYS={key.public}")
    return 0


def _api(options: argparse.Namespace) -> int:
    if not _NAME.fullmatch(options.name):
        raise ValueError(f"{options.name!r} is no name of letters, digits, '.', '_' and '-'")
    key = f"mlops_{secrets.token_urlsafe(32)}"
    print(f"for the client, shown this once: {key}")
    print(
        "for the server, in SERVING_API_KEYS or a line of SERVING_API_KEYS_FILE: "
        f"{options.name}:{hashlib.sha256(key.encode()).hexdigest()}"
    )
    return 0
