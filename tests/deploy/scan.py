"""Runs checkov over the manifests as they are deployed; whatever it finds is a failure.

python -m tests.deploy.scan build/checkov/bin/checkov
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import yaml

from tests.deploy import manifests
from tests.deploy.manifests import COMPONENTS, OURS, OVERLAYS, pods

DIGEST: Final = "sha256:" + "0" * 64
#: What is not mended, and why.
ACCEPTED: Final = {
    "CKV_K8S_15": "An image by its digest is the same wherever it comes from.",
    "CKV_K8S_35": "Clients of S3 and of PostgreSQL read their keys from the environment.",
    "CKV_K8S_43": "Images of others have a tag, which an overlay may turn into a digest.",
}


def main(checkov: str) -> int:
    """Scan; return checkov's status."""
    builds = {name: list(manifests.deployed(name, DIGEST)) for name in OVERLAYS}
    builds |= {f"component-{name}": list(manifests.component(name)) for name in COMPONENTS}
    with TemporaryDirectory() as folder:
        for name, objects in builds.items():
            for each in pods(objects):
                for container in each.containers:
                    if container["image"] in OURS:
                        container["image"] += f"@{DIGEST}"
            text = yaml.safe_dump_all(objects)
            (Path(folder) / f"{name}.yaml").write_text(text, encoding="utf-8")
        command = [checkov, "--directory", folder, "--framework", "kubernetes", "--compact"]
        command += ["--quiet", "--skip-download", "--skip-check", ",".join(ACCEPTED)]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
