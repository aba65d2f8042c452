"""The Compose stack: no password works unchanged, nothing but loopback listens, the app starts."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.settings import load_settings, unknown_variables
from tests.deploy.tools import DEPLOY, run

FOLDER = DEPLOY / "compose"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
REQUIRED = set(re.findall(r"\$\{(\w+):\?", TEXT))


def test_it_keeps_to_the_schema_of_compose() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml")


def test_no_secret_works_unchanged() -> None:
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    # Compose refuses what is empty, and says why.
    assert given == dict.fromkeys(REQUIRED, "")
    optional = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT))
    assert dict(re.findall(r"^#(\w+)=(.*)$", example, re.MULTILINE)).keys() == optional.keys()
    assert not [name for name in optional if "PASSWORD" in name or "SECRET" in name]


def test_only_loopback_listens_and_containers_are_locked() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        image = service["image"]
        assert image.rpartition(":")[2] not in ("", "latest"), image
        ours = image.startswith("${IMAGE")
        assert ours or "healthcheck" in service, f"{name}: its image has no health check"


def test_what_is_waited_for_and_mounted_is_there() -> None:
    declared = yaml.safe_load(TEXT)
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            # They meet only where they share a network.
            assert set(service["networks"]) & set(SERVICES[other]["networks"]), f"{name}, {other}"
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no"
        assert set(service["networks"]) <= declared["networks"].keys()
        for volume in service.get("volumes", []):
            source, _, _ = volume.partition(":")
            if source.startswith("."):
                assert (FOLDER / source).exists(), f"{name} mounts {source}"
            else:
                assert source in declared["volumes"], f"{name} mounts {source}"


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_app_starts_with_these_settings(environment: str, tmp_path: Path) -> None:
    filled = {
        "STORE_ACCESS_KEY": "mlops",
        "STORE_SECRET_KEY": "key",
        "SERVING_API_KEYS": f"dagster:{'0' * 64}",
        "SERVING_TRUSTED_KEYS": "A" * 43 + "=",
        "MLOPS_ENVIRONMENT": environment,
    }

    def fill(found: re.Match[str]) -> str:
        return filled.get(found[1], found[2])

    given = {
        name: re.sub(r"\$\{(\w+):[-?]([^}]*)\}", fill, str(value))
        for name, value in SERVICES["serving"]["environment"].items()
    }
    assert not unknown_variables(given)
    settings = load_settings([], {**given, "MLOPS_HOME": str(tmp_path)})
    assert settings.environment == environment
    assert settings.api_keys
