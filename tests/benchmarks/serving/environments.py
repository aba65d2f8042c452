"""Environments of their own, made once and kept: of the peers, and of serving alone."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mlops_assets import home
from mlops_assets.lib.digests import digest_of


def environment(name: str, arguments: Sequence[str]) -> Path:
    """Make a virtual environment, unless it is there from an earlier run.

    Args:
        name: Of its folder.
        arguments: What to install, as ``pip install`` takes it.

    Returns:
        Its folder.

    Raises:
        RuntimeError: It cannot be installed; with the reason.
    """
    folder = home.home() / "benchmarks" / f"{name}-{digest_of(list(arguments))[:12]}"
    done = folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        python = folder / "bin" / "python"
        uv = Path(sys.executable).with_name("uv")
        by_uv: list[str | Path] = [uv, "pip", "install", "--quiet", "--compile-bytecode"]
        by_uv += ["--python", python, *arguments]
        by_pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *arguments]
        # As in the Makefile: where uv cannot reach an index that pip is set up for, pip does it.
        if _run(by_uv) and (reason := _run(by_pip)):
            raise RuntimeError(f"{name} cannot be installed: {reason[-1000:]}")
        done.touch()
    return folder


def python_of(folder: Path) -> str:
    return str(folder / "bin" / "python")


def versions(folder: Path, packages: Sequence[str]) -> str:
    """Which versions of packages an environment holds, in words."""
    found = distributions(folder)
    return ", ".join(f"{name} {found[name]}" for name in packages if name in found)


def distributions(folder: Path) -> dict[str, str]:
    """By lower-case name, the version of everything that is installed."""
    code = (
        "from importlib.metadata import distributions as d\n"
        "for each in d(): print(each.metadata['Name'].lower(), each.version)"
    )
    said = subprocess.run(
        [python_of(folder), "-c", code], check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split() for line in said.splitlines())


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(
        path.lstat().st_size
        for parent, _, names in os.walk(folder)
        for path in map(Path(parent).joinpath, names)
    )


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"exit status {done.returncode}"
