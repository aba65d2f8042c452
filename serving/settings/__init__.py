"""Every setting of the server in one place, so that its start either succeeds or says why not."""

import argparse
import ipaddress
from collections.abc import Mapping, Sequence
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


class SettingsError(ValueError):
    """A setting is missing or wrong. The message is one line that names it and how to give it."""


class Settings(OriginSettings, AnsweringSettings, PredictionLogSettings, AccessSettings):
    """What the server needs to know before it starts. Each concern declares its own."""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        """Refuse to start where nobody would notice that a door is open."""
        trust = self.trust()
        if self.environment == _PRODUCTION and not trust:
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
        return Settings.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(map(_explain, error.errors()))) from None


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
