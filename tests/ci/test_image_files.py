"""The Dockerfile and what it is given, looked at without building anything."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile, an instruction at a time."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found = [INSTRUCTION.match(line) for line in lines]
    return [(match[1], " ".join(match[2].split())) for match in found if match]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for instruction, text in instructions():
        if instruction == "FROM":
            name = text.split(" AS ")[1]
        found.setdefault(name, []).append((instruction, text))
    return found


def of(stage: str, instruction: str) -> list[str]:
    return [text for found, text in stages()[stage] if found == instruction]


def ignored(path: str) -> bool:
    """Whether the builder does not get a path; the last pattern that fits decides."""
    answer = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        again, pattern = line.startswith("!"), line.removeprefix("!").strip("/")
        parts = [re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("/")]
        # A character class stays one; `**` stands for any number of folders.
        expression = "/".join(parts).replace(r"\[co\]", "[co]").replace("[^/]*[^/]*/", "(.*/)?")
        if re.fullmatch(f"{expression}(/.*)?", path):
            answer = not again
    return answer


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    copied = {
        source
        for text in of("serving-build", "COPY") + of("dagster-build", "COPY")
        for source in text.split()[:-1]
    }
    assert {"serving", "mlops_assets", "dbt_features", "requirements/runtime.txt"} <= copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    needless = [p for p in tracked if not ignored(p) and not any(_in(p, c) for c in copied)]
    assert needless == []
    for path in (
        ".git/config", ".venv/bin/python", ".mlops/storage/x", "tests/conftest.py", ".env",
        "docs/data.md", ".github/workflows/ci.yml", "build/gate/report.md", "signing.key",
        "serving/__pycache__/app.cpython-312.pyc", "dbt_features/target/manifest.json",
    ):  # fmt: skip
        assert ignored(path), path


def _in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def test_only_hashed_wheels_are_installed() -> None:
    for stage, lock in (("serving-build", "serving.txt"), ("dagster-build", "runtime.txt")):
        (install,) = [text for text in of(stage, "RUN") if "--requirement" in text]
        command = install.split(" && ")[0]
        assert {"--require-hashes", "--only-binary", "--no-deps"} <= set(command.split())
        assert command.endswith(f"--requirement requirements/{lock}")
        text = (ROOT / "requirements" / lock).read_text()
        packages = re.split(r"\n(?=[a-zA-Z0-9])", text.strip())
        assert len(packages) > 20
        assert all("--hash=sha256:" in package for package in packages)
        assert "--index-url" not in text


@pytest.mark.parametrize("stage", ["serving", "dagster"])
def test_an_image_runs_as_nobody_and_needs_no_shell(stage: str) -> None:
    found = stages()[stage]
    assert found[0] == ("FROM", f"${{BASE_IMAGE}} AS {stage}")
    # Nothing runs here: every file comes from the build stage, with the time it has there.
    assert not of(stage, "RUN")
    assert not of(stage, "ADD")
    assert all(text.startswith(f"--from={stage}-build ") for text in of(stage, "COPY"))
    (user,) = of(stage, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    (health,) = of(stage, "HEALTHCHECK")
    commands = of(stage, "CMD") + of(stage, "ENTRYPOINT") + [health.split(" CMD ")[1]]
    assert len(commands) == 2
    for command in commands:
        assert isinstance(json.loads(command), list)
    (labels,) = of(stage, "LABEL")
    for name in ("version", "revision", "created", "licenses", "title", "description"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_what_an_index_needs_stays_in_the_build_stages() -> None:
    for name, found in stages().items():
        given = {text.split("=")[0] for instruction, text in found if instruction == "ARG"}
        secret = {arg for arg in given if arg.startswith("PIP_")}
        assert not secret or name.endswith("-build")
        # No value: none is written down.
        values = {t for i, t in found if i == "ARG" and t.startswith("PIP_") and "=" in t}
        assert not values
    # Dagster's launchers give the whole command of a run, which an entry point would swallow.
    assert not of("dagster", "ENTRYPOINT")


def test_it_is_built_by_every_builder() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for syntax in ("# syntax=", "--mount", "<<EOF", "--link", "--chmod", "--parents", "--exclude"):
        assert syntax not in text


@pytest.mark.skipif(not shutil.which("docker"), reason="there is no docker on this machine")
def test_the_images_answer() -> None:
    """With the images of `make image`; `make image-check` says the same in more words."""
    from tests.ci.image import ImageError, Images, check_serving

    images, name = Images("docker"), "mlops-assets/serving"
    try:
        found = images._call("images", "--quiet", name)
    except ImageError as error:
        pytest.skip(f"docker does not answer: {error}"[:200])
    if not found.strip():
        pytest.skip(f"there is no image {name}: make image")
    images.inspect(found.split()[0])
    assert "answers" in check_serving(images, found.split()[0])
