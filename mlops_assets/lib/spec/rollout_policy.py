"""An environment's own words on how versions come to serve there.

Staging has no customers to wait for, and production wants more of them to be watched than a laptop
does. So a file, in a cluster a ConfigMap, may say by use case what differs from the spec's
``rollout``. It is read when a rollout begins, so that a change needs no new image, and a mistake in
it stops rollouts of new versions and nothing else: not a way back, for which it is never read.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.spec.rollout import Rollout
from mlops_assets.lib.spec.spec_file import Document, Mistake, SpecError, read_nodes, value_of
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.lib.spec.use_case import UseCase

VARIABLE = "MLOPS_ROLLOUT_POLICY"
# How often a rollout is begun is the sensor's, which looks at the spec every few seconds.
OF_THE_SPEC = "attempts"


@dataclass(frozen=True)
class RolloutPolicy:
    """What an environment says of rollouts.

    Attributes:
        file: Where it says so.
        digest: Of the file.
        by_use_case: What is in force for each use case that the file names: its spec's
            ``rollout`` with the file's fields in the place of the spec's.
    """

    file: Path
    digest: str
    by_use_case: dict[str, Rollout]


def rollout_policy(*specs: UseCase) -> RolloutPolicy | None:
    """The policy of this environment, or None where ``MLOPS_ROLLOUT_POLICY`` names no file.

    Args:
        specs: Use cases that are known besides those under ``mlops_assets/defs``, or in their
            place.

    Raises:
        SpecError: With every mistake in the file, whichever use case it is about: a name that is
            misspelt would leave its use case to a spec that nobody meant.
        OSError: If the file cannot be read.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    path = Path(given)
    if not path.is_file():
        raise FileNotFoundError(f"{VARIABLE}={given}: no file")
    known = load_specs() | {spec.name: spec for spec in specs}
    return RolloutPolicy(path, file_digest(path), _read(path, known))


def _read(path: Path, specs: dict[str, UseCase]) -> dict[str, Rollout]:
    nodes = read_nodes(path)
    if not nodes:
        raise SpecError([Mistake(path, 1, "", "it is empty; {} says that nothing differs")])
    if len(nodes) > 1 or not isinstance(nodes[0], yaml.MappingNode):
        said = "one mapping is wanted, of what to do by use case"
        raise SpecError([Mistake(path, 1, "", said)])
    sections = value_of(nodes[0])
    document = Document(path, nodes[0], sections)
    found: dict[str, Rollout] = {}
    mistakes: list[Mistake] = []
    for name, section in sections.items():
        if name not in specs:
            said = f"no such use case; there are: {', '.join(specs)}"
            mistakes.append(document.mistake([name], said))
            continue
        if isinstance(section, dict) and OF_THE_SPEC in section:
            said = "stands in the spec alone: it is the same in every environment"
            mistakes.append(document.mistake([name, OF_THE_SPEC], said))
            continue
        try:
            found[name] = Rollout.model_validate(_over(specs[name].rollout, section))
        except ValidationError as error:
            mistakes += document.refused(error, name).mistakes
    if mistakes:
        raise SpecError(mistakes)
    return found


def _over(written: Rollout, section: Any) -> Any:
    """The fields of a section in the place of the spec's; a limit that it leaves out stays."""
    if not isinstance(section, dict):
        return section
    usual = written.model_dump(exclude_unset=True)
    merged = usual | section
    if isinstance(section.get("analysis"), dict):
        merged["analysis"] = usual.get("analysis", {}) | section["analysis"]
    return merged
