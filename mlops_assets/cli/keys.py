"""Commands that make keys: for signing bundles, and for asking the serving app."""

import argparse
import hashlib
import os
import re
import secrets
from pathlib import Path

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.bundles import signing
from mlops_assets.lib.digests import short
from mlops_assets.lib.records.history import (
    awaiting_approval,
    awaiting_rollout,
    champion,
    former_champions,
)
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add(commands: Commands) -> None:
    """Declare the commands."""
    keys = commands.add_parser("keys", help="make a key that signs bundles, or one for a client")
    kinds = keys.add_subparsers(required=True, metavar="KIND")

    new = kinds.add_parser("new", help="a key pair: training signs bundles, serving knows them")
    new.add_argument("file", type=Path, help="a new file for the private half")
    new.set_defaults(run=_new)

    sign = kinds.add_parser(
        "sign", help="sign what serves, or may serve again, with a new key of this deployment"
    )
    sign.add_argument("use_case")
    sign.set_defaults(run=_sign)

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


def _sign(options: argparse.Namespace) -> int:
    from mlops_assets.lib.bundles.bundle import verify_stored

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    key = signing.key_from_environment()
    if key is None:
        raise ValueError(f"set {signing.FILE_VARIABLE} or {signing.KEY_VARIABLE}: sign with what?")
    entries = Ledger(store, spec.name).verify()
    wanted = [champion(entries), *former_champions(entries)[: spec.retention.champions]]
    wanted += [awaiting_rollout(entries), *awaiting_approval(entries)]
    named = {entry["bundle"]: entry for entry in wanted if entry is not None}
    for digest, entry in named.items():
        # A key vouches for what the ledger knows, and not for what lies in its place.
        verify_stored(store, entry["path"], digest)
        signing.sign_stored(key, digest, store, entry["path"])
        print(f"version {entry['version']} ({short(digest)}) is signed by the key {key.id}")
    if not named:
        print(f"{spec.name} has no version that serves or waits")
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
