import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.__main__ import main
from serving.logs import JsonFormatter
from serving.settings import CONCERNS, Settings, SettingsError, load_settings, unknown_variables
from serving.settings.declared import settings_of
from tests.serving.bundles import USE_CASE, Built
from tests.serving.server import ROOT, WARNINGS, Server, clean_environment, wait_until
from tests.serving.settings_page import PAGE, page


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean_environment(PYTHONWARNINGS=WARNINGS, **variables),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_defaults() -> None:
    settings = load_settings(["--use-case", "churn"], {})
    assert settings.storage_root == ".mlops/storage"
    assert (settings.environment, settings.host, settings.port) == ("dev", "127.0.0.1", 8000)
    assert settings.desired_state("churn") == "churn/desired/dev.json"


def test_environment_variables() -> None:
    settings = load_settings(
        [],
        {
            "SERVING_USE_CASE": "churn, heart_disease",
            "SERVING_STORAGE_ROOT": "file:///data/storage",
            "SERVING_ENVIRONMENT": "staging",
            "MLOPS_ENVIRONMENT": "production",
            "SERVING_HOST": "0.0.0.0",
            "SERVING_PORT": "9000",
            "SERVING_POLL_SECONDS": "0.5",
            "SERVING_LOG_LEVEL": "debug",
            "SERVING_ALLOWED_DIGESTS": "a" * 64,
            "SERVING_API_KEYS": f"one:{'0f' * 32}",
        },
    )
    expected = {
        "use_cases": ("churn", "heart_disease"),
        "storage_root": "/data/storage",
        "environment": "staging",
        "host": "0.0.0.0",
        "port": 9000,
        "poll_seconds": 0.5,
        "log_level": "DEBUG",
        "allowed_digests": frozenset({"a" * 64}),
        "api_keys": {b"\x0f" * 32: "one"},
    }
    assert settings.model_dump().items() >= expected.items()


def test_settings_of_the_prediction_log() -> None:
    settings = load_settings(["--use-case", "churn", "--log-inputs", "false"], {})
    assert settings.log_spool == ".mlops/spool"
    assert (settings.log_inputs, settings.log_features) == (False, True)
    environ = {"MLOPS_HOME": "/srv", "SERVING_LOG_WHEN_FULL": "refuse", "SERVING_USE_CASE": "c"}
    settings = load_settings([], environ)
    assert settings.log_spool == "/srv/spool"
    assert settings.log_when_full == "refuse"
    with pytest.raises(SettingsError, match="--log-shadow-share or SERVING_LOG_SHADOW_SHARE = '2'"):
        load_settings(["--log-shadow-share", "2"], environ)


def test_precedence() -> None:
    environ = {"MLOPS_ENVIRONMENT": "staging", "MLOPS_HOME": "/srv/mlops", "SERVING_PORT": ""}
    settings = load_settings(["--use-case", "churn", "--port", "0"], environ)
    assert settings.environment == "staging"
    assert settings.storage_root == "/srv/mlops/storage"
    assert settings.port == 0
    environ["SERVING_PORT"] = "7000"
    assert load_settings(["--use-case", "churn"], environ).port == 7000
    assert load_settings(["--use-case", "churn", "--port", "1"], environ).port == 1
    environ["MLOPS_STORAGE_ROOT"] = "s3://bucket/prefix/"
    assert load_settings(["--use-case", "churn"], environ).storage_root == "s3://bucket/prefix"


def test_secrets_have_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--api-keys=me:x", "--trusted-keys=x"):
        with pytest.raises(SystemExit):
            load_settings(["--use-case", "churn", option], {})
    assert "unrecognized arguments" in capsys.readouterr().err


def test_help_and_page_tell_of_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(["--help"], {})
    shown = " ".join(capsys.readouterr().out.split())
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.serving.settings_page"
    settings = [setting for concern in CONCERNS.values() for setting in settings_of(concern)]
    # The supervisor tells a worker which it is.
    assert {setting.name for setting in settings} == set(Settings.model_fields) - {"worker"}
    for setting in settings:
        assert all(variable in shown for variable in setting.variables)
        assert setting.option is None or f"{setting.option} " in shown
    assert "processes that answer; default: 1 (or SERVING_WORKERS)" in shown
    assert (
        "default: $MLOPS_HOME/storage or .mlops/storage (or SERVING_STORAGE_ROOT, MLOPS_" in shown
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SERVING_USE_CASE": ""}, "no use case to serve: give --use-case NAME or set SERVING_USE"),
        ({"SERVING_USE_CASE": "../x"}, r"--use-case or SERVING_USE_CASE = '../x': String should"),
        ({"SERVING_USE_CASE": "a,b, a"}, r"--use-case or SERVING_USE_CASE = 'a,b, a': a is named"),
        ({"SERVING_PORT": "70000"}, r"--port or SERVING_PORT = '70000': Input should be less"),
        ({"SERVING_PORT": "http"}, r"--port or SERVING_PORT = 'http': Input should be a valid int"),
        ({"SERVING_POLL_SECONDS": "0.1"}, r"--poll-seconds or SERVING_POLL_SECONDS = '0.1'"),
        ({"SERVING_POLL_SECONDS": "61"}, r"less than or equal to 60"),
        (
            {"SERVING_LOG_LEVEL": "loud"},
            "SERVING_LOG_LEVEL = 'LOUD': Input should be 'DEBUG'",
        ),
        ({"SERVING_STORAGE_ROOT": "gs://bucket/x"}, "'gs://bucket/x': give a local folder, file:"),
        ({"SERVING_STORAGE_ROOT": "s3://b/../x"}, "'s3://b/../x' is not of the form s3://bucket/"),
    ],
)
def test_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        load_settings([], {"SERVING_USE_CASE": "churn", **variables})
    assert "\n" not in str(error.value)


def test_a_variable_that_is_no_setting_is_told_without_its_value() -> None:
    mistyped = {"SERVING_API_KEY": "secret", "SERVING_WORKRES": "4", "SERVING_RATES": ""}
    of_kubernetes = {
        "SERVING_CHURN_SERVICE_HOST": "10.0.0.1",
        "SERVING_CHURN_SERVICE_PORT_HTTP": "80",
        "SERVING_CHURN_PORT": "tcp://10.0.0.1:80",
        "SERVING_CHURN_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    environ = {**mistyped, **of_kubernetes, "SERVING_ALLOWED_DIGESTS": "a" * 64}
    said = [
        "SERVING_API_KEY is no setting of this server; is SERVING_API_KEYS meant?",
        "SERVING_WORKRES is no setting of this server; is SERVING_WORKERS meant?",
    ]
    assert unknown_variables(environ) == said
    load_settings(["--use-case", "churn"], environ)
    with pytest.raises(SettingsError) as error:
        load_settings(["--use-case", "churn", "--environment", "production"], environ)
    assert str(error.value) == "; ".join(said)


def test_a_spool_that_cannot_be_made_keeps_production_from_starting(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    spool = tmp_path / "spool"
    spool.touch()
    given = {"SERVING_LOG_SPOOL": str(spool), "SERVING_ALLOWED_DIGESTS": "a" * 64}
    problem = (
        f"no spool for the prediction log: {spool}: File exists: choose another with --log-spool"
    )
    production = {**given, "SERVING_USE_CASE": USE_CASE, "SERVING_ENVIRONMENT": "production"}
    ended = run("-m", "serving", **production)
    assert (ended.returncode, ended.stderr.splitlines()) == (2, [f"serving: {problem}"])
    server = start_server(tmp_path, environ={**given, "SERVING_WORKRES": "4"})
    wait_until(lambda: len(server.log) >= 3, "the start")
    said = {line["message"]: line for line in server.log}
    assert said["predictions are not logged"]["problem"] == problem
    assert "SERVING_WORKRES is no setting of this server; is SERVING_WORKERS meant?" in said
    assert server.client.get("/health/live").status_code == 200
    # What is mended while it runs is found: nothing holds up the stop.
    spool.unlink()


def test_start_without_a_use_case() -> None:
    ended = run("-m", "serving")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "serving: no use case to serve: give --use-case NAME or set SERVING_USE_CASE"
    ]


def test_start_on_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--use-case", USE_CASE, "--port", port]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"serving: port {port} on 127.0.0.1 is in use: choose another with --po")


OPEN = ["--insecure-no-api-keys"]


def test_start_on_an_address_of_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--use-case", USE_CASE, "--host", "192.0.2.1", "--port", "0", *OPEN]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("serving: cannot listen on 192.0.2.1 port 0: ")


def test_serving_needs_nothing_of_the_training_stack(built: Built) -> None:
    program = f"""
import json, sys
from pathlib import Path
import serving.__main__, serving.app
from serving.bundle.loaded import Bundle
bundle = Bundle.load(Path({str(built.folder)!r}), {built.digest!r}, {USE_CASE!r})
bundle.predict([bundle.contract.validate_row(bundle.contract.json_schema()["example"])])
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
    ended = run("-c", program)
    assert ended.returncode == 0, ended.stderr
    loaded = set(json.loads(ended.stdout))
    assert loaded.isdisjoint(
        {
            "mlops_assets", "dagster", "dbt", "pandas", "polars", "pyarrow", "sklearn", "scipy",
            "xgboost", "mlflow", "fsspec", "obstore", "onnx", "skl2onnx", "joblib", "cloudpickle",
            "requests", "httpx",
        }
    )  # fmt: skip
    assert {"duckdb", "fastapi", "onnxruntime", "serving"} <= loaded


def test_manifest_needs_the_standard_library_only() -> None:
    program = """
import sys
before = set(sys.modules)
import serving.bundle.manifest
print(*{name.split(".")[0] for name in set(sys.modules) - before})
"""
    ended = run("-c", program)
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) - sys.stdlib_module_names == {"serving"}


def test_log_line_is_one_json_object() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x", logging.ERROR, "f", 1, "said %s", ("a\nb",), sys.exc_info(),
            extra={"fields": {"path": Path("/x"), "version": "3"}},
        )  # fmt: skip
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "said a\nb"
    assert (found["level"], found["logger"]) == ("ERROR", "x")
    assert (found["path"], found["version"]) == ("/x", "3")
    assert "ValueError: first" in found["exception"]
