"""Builds overlays and components as `kubectl apply -k` would, and finds one's way in the result."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, run

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
#: Those that are whole with the base alone; KServe's needs its overlay.
COMPONENTS = sorted({path.name for path in (KUBERNETES / "components").iterdir()} - {"kserve"})
#: What `make deploy` sets by digest.
OURS = ("mlops-assets/serving", "mlops-assets/dagster")

Object = dict[str, Any]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Pods:
    """Pods that somebody makes from a template.

    Attributes:
        owner: Kind and name, for messages.
        labels: Of the pods.
        spec: Of the pods.
    """

    owner: str
    labels: Labels
    spec: Object

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> list[Object]:
        return [port for each in self.containers for port in each.get("ports", [])]


@cache
def overlay(name: str) -> Sequence[Object]:
    """Every object of an overlay."""
    return _build(KUBERNETES / "overlays" / name)


@cache
def component(name: str) -> Sequence[Object]:
    """Every object of the base with one component, in the namespace of production."""
    with TemporaryDirectory() as folder:
        # Resolved, for kustomize compares real paths.
        here = Path(folder).resolve()
        shutil.copytree(KUBERNETES, here / "kubernetes")
        for example in here.glob("kubernetes/components/secret/*.example"):
            example.rename(example.with_suffix(""))
        parts = {
            "namespace": "mlops-production",
            "resources": ["kubernetes/base"],
            "components": [f"kubernetes/components/{name}"],
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
        return _build(here)


def deployed(name: str, digest: str) -> Sequence[Object]:
    """An overlay as `make deploy` applies it: both images by digest."""
    with TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        images = [
            {"name": each, "newName": f"registry.example/{each}", "digest": digest} for each in OURS
        ]
        base = os.path.relpath(KUBERNETES / "overlays" / name, here)
        text = yaml.safe_dump({"resources": [base], "images": images})
        (here / "kustomization.yaml").write_text(text, encoding="utf-8")
        return _build(here)


def _build(folder: Path) -> Sequence[Object]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", folder)))


def of(objects: Sequence[Object], *kinds: str) -> Iterator[Object]:
    """The objects of some kinds."""
    return (each for each in objects if each["kind"] in kinds)


def named(each: Object) -> str:
    """Kind and name of an object, for messages."""
    return f"{each['kind']} {each['metadata']['name']}"


def pods(objects: Sequence[Object]) -> list[Pods]:
    """Whatever makes pods."""
    found = []
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if each["kind"] == "InferenceService":
            found.append(Pods(named(each), spec["predictor"]["labels"], spec["predictor"]))
        elif each["kind"] in ("Deployment", "CronJob"):
            template = spec["template"]
            found.append(Pods(named(each), template["metadata"]["labels"], template["spec"]))
    return found


def matches(selector: Object, labels: Labels) -> bool:
    """Whether a selector of labels chooses these."""
    wanted: Labels = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items())
