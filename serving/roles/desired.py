"""The desired state: which bundle plays which role, as one small file.

A deployment writes it and every server follows it; nothing else says what serves. A champion that
cannot be read is an error, for then nobody knows what should answer. A challenger or a shadow that
cannot be read is left out, with its reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.bundle.manifest import BundleError

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
SHADOW: Final = "shadow"
#: Whoever plays these is on trial: it must never hurt the champion.
ON_TRIAL: Final = (CHALLENGER, SHADOW)


class Role(BaseModel):
    """Which bundle a role is played by.

    Attributes:
        version: The registered version.
        bundle: Its folder, under the storage root.
        digest: The digest that names the bundle.
        percent: Of the requests: how many a challenger answers, or a shadow sees. A champion
            answers what is left. Without it nobody: a forgotten field is no rollout.
    """

    model_config = ConfigDict(frozen=True)

    # A label of metrics, a part of answers and paths.
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    bundle: str
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    percent: Annotated[float, Field(ge=0, le=100)] = 0.0


@dataclass(frozen=True)
class DesiredState:
    """What should serve.

    Attributes:
        roles: By name; without a champion nothing should serve.
        problems: Why a challenger or a shadow that is named cannot be read.
        salt: Decides, with the key of a request, which of them the challenger gets.
        stale: Why this is only what was last known, or None.
    """

    roles: Mapping[str, Role]
    problems: Mapping[str, str] = field(default_factory=dict)
    salt: str = ""
    stale: str | None = None


class _File(BaseModel):
    # Roles are read one by one, so that an unknown one does no harm.
    schema_version: Literal[1]
    use_case: str
    environment: str
    roles: dict[str, Any]
    salt: str = ""


def read_desired(content: bytes, where: str, use_case: str, environment: str) -> DesiredState:
    """Read the desired state of a use case in an environment.

    Args:
        content: Of the file.
        where: The file's name, for messages.
        use_case: Whose state it must be.
        environment: For which environment it must be.

    Raises:
        BundleError: It cannot be read, is another one's, or its champion is not complete.
    """
    try:
        state = _File.model_validate(json.loads(content))
    except ValidationError as error:
        raise BundleError(f"{where}: {_first(error)}") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: cannot be read: {error}") from None
    for name, expected in (("use_case", use_case), ("environment", environment)):
        if (found := getattr(state, name)) != expected:
            raise BundleError(f"{where}: {name}: expected {expected!r}, found {found!r:.80}")
    roles: dict[str, Role] = {}
    problems: dict[str, str] = {}
    digests: dict[str, str] = {}
    for name in (CHAMPION, *ON_TRIAL):
        if (raw := state.roles.get(name)) is None:
            continue
        try:
            role = Role.model_validate(raw)
        except ValidationError as error:
            problem = f"{where}: {_first(error, 'roles', name)}"
            if name == CHAMPION:
                raise BundleError(problem) from None
            problems[name] = problem
            continue
        if digests.setdefault(role.version, role.digest) != role.digest:
            # Metrics and answers name versions: nobody could tell which of the two it was.
            problems[name] = (
                f"{where}: roles.{name}.version: {role.version!r} is the version of another role, "
                "with another digest"
            )
            continue
        roles[name] = role
    return DesiredState(roles, problems, state.salt)


def _first(error: ValidationError, *within: str) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, (*within, *first["loc"])))
    said = "must be a JSON object" if first["type"] == "model_type" else first["msg"]
    return f"{where}: {said}, found {first['input']!r:.80}".removeprefix(": ")
