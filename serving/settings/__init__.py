"""Every setting of the server in one place, so that its start either succeeds or says why not."""

import argparse
import ipaddress
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, Self

from pydantic import ValidationError, model_validator

from serving.settings.access import AccessSettings
from serving.settings.answering import AnsweringSettings
from serving.settings.declared import Concern, settings_of
from serving.settings.origin import OriginSettings
from serving.settings.prediction_log import PredictionLogSettings

#: What settings are about, in the order in which people ask.
CONCERNS: Final[Mapping[str, type[Concern]]] = {
    "What to serve, and from where": OriginSettings,
    "Answering": AnsweringSettings,
    "The prediction log": PredictionLogSettings,
    "Who may ask, and what may answer": AccessSettings,
}
_SETTINGS: Final = {
    setting.name: setting for concern in CONCERNS.values() for setting in settings_of(concern)
}
_PRODUCTION: Final = "production"
_PREFIX: Final = "SERVING_"
#: Tells a process that it is a worker, and which; no setting, for its supervisor sets it.
WORKER: Final = "SERVING_WORKER_OF"
# What Kubernetes sets in every pod for a service whose name begins with "serving".
_OF_KUBERNETES: Final = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$"
)


class SettingsError(ValueError):
    """A setting is missing or wrong. The message is one line that names it and how to give it."""


class Settings(OriginSettings, AnsweringSettings, PredictionLogSettings, AccessSettings):
    """What the server needs to know before it starts. Each concern declares its own."""

    @property
    def is_production(self) -> bool:
        """Whether what is doubtful keeps the server from starting, and is no mere warning."""
        return self.environment == _PRODUCTION

    @model_validator(mode="after")
    def _safe(self) -> Self:
        """Refuse to start where nobody would notice that a door is open."""
        trust = self.trust()
        if self.is_production and not trust:
            raise ValueError(
                "environment 'production' serves only bundles that somebody vouches for: set "
                "SERVING_TRUSTED_KEYS (or …_FILE) or SERVING_ALLOWED_DIGESTS"
            )
        if _is_loopback(self.host):
            return self
        if not (self.api_keys or self.api_keys_file or self.insecure_no_api_keys):
            raise ValueError(
                f"host {self.host} can be reached by others: set SERVING_API_KEYS or "
                "SERVING_API_KEYS_FILE (`mlops keys api NAME` makes a key), or say "
                "--insecure-no-api-keys"
            )
        if self.bundle and not (self.bundle_digest or trust):
            raise ValueError(
                f"host {self.host} can be reached by others: say which bundle they may be served "
                "with --bundle-digest"
            )
        return self


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings from the command line, then from the environment, then the defaults.

    Raises:
        SettingsError: A setting is missing or out of its range.
        SystemExit: `--help`, or an option that does not exist.
    """
    options = vars(_parser().parse_args(arguments))
    home = environ.get("MLOPS_HOME") or ".mlops"
    values = {}
    for name, setting in _SETTINGS.items():
        usual = f"{home}/{setting.home}" if setting.home else None
        # An empty variable counts as unset: that is how compose files and shells leave one out.
        values[name] = next(
            filter(None, (options.get(name), *map(environ.get, setting.variables), usual)), None
        )
    if not values["use_cases"]:
        raise SettingsError("no use case to serve: give --use-case NAME or set SERVING_USE_CASE")
    try:
        settings = Settings.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(map(_explain, error.errors()))) from None
    if settings.is_production and (unknown := unknown_variables(environ)):
        raise SettingsError("; ".join(unknown))
    return settings


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Say of each variable that looks like a setting and is none which one may be meant.

    Never its value, which may be a secret.
    """
    known = {WORKER, *(each for setting in _SETTINGS.values() for each in setting.variables)}
    found = []
    for name in sorted(environ.keys() - known):
        if name.startswith(_PREFIX) and environ[name] and not _OF_KUBERNETES.search(name):
            near = get_close_matches(name, sorted(known - {WORKER}), 1, 0)
            found.append(f"{name} is no setting of this server; is {near[0]} meant?")
    return found


def _is_loopback(host: str) -> bool:
    # A name could lead anywhere; it counts as one that others can reach.
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _explain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    setting = _SETTINGS[str(problem["loc"][0])]
    variable = setting.variables[0]
    if setting.option is None:
        return f"{variable}: {message}"
    return f"{setting.option} or {variable} = {problem['input']!r:.80}: {message}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the champions of use cases.",
        # `--api-keys` would be read as `--api-keys-file`, and its value shown as a path.
        allow_abbrev=False,
    )
    for heading, concern in CONCERNS.items():
        group = parser.add_argument_group(heading)
        secrets = []
        for setting in settings_of(concern):
            if setting.option is None:
                secrets.append(f"{setting.variables[0]}: {setting.purpose}.")
                continue
            default = f"; default: {setting.default}" if setting.default else ""
            alone: dict[str, Any] = {"nargs": "?", "const": "true"} if setting.switch else {}
            group.add_argument(
                setting.option,
                dest=setting.name,
                help=f"{setting.purpose}{default} (or {', '.join(setting.variables)})",
                **alone,
            )
        # Whoever reads the help should know of them, too.
        group.description = " ".join(secrets) or None
    return parser
