"""What is written of predictions and of labels: the lines of a segment, and the columns of a file.

Both are here once, so that a file cannot ask for what no line holds. A segment starts with what all
of its records share, its `Head`; each line after it is one record, as short as it can be.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from serving.bundle.loaded import Bundle

#: The folder of each kind of record, under that of its use case.
SERVED: Final = "served"
FEEDBACK: Final = "feedback"


class Predictions(msgspec.Struct, frozen=True, tag=SERVED):
    """The predictions of one bundle in one role.

    Attributes:
        use_case: For which they are made.
        environment: In which.
        role: champion, challenger or shadow.
        version: Of the registered model.
        digest: Of the bundle.
        threshold: From which a probability means the positive class.
        classes: The negative and the positive class, as text.
        inputs: Name and DuckDB type of each column that is kept.
        features: The names of the features, in order; none are kept if it is empty.
        entity_pii: What may be kept of an entity's id: "drop" nothing, "hash" its keyed digest.
    """

    use_case: str
    environment: str
    role: str
    version: str
    digest: str
    threshold: float
    classes: tuple[str, str]
    inputs: tuple[tuple[str, str], ...]
    features: tuple[str, ...]
    entity_pii: str | None = None

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        environment: str,
        role: str,
        version: str,
        *,
        inputs: bool = True,
        features: bool = True,
    ) -> Self:
        """Describe what a bundle answers in a role.

        Args:
            bundle: The bundle that answers.
            environment: The environment that is served.
            role: The role that it plays.
            version: Its version.
            inputs: Whether the values of a request are kept.
            features: Whether the values that the model saw are kept.
        """
        manifest = bundle.manifest
        outcomes = manifest.classes.negative.value, manifest.classes.positive.value
        return cls(
            manifest.use_case,
            environment,
            role,
            version,
            bundle.digest,
            manifest.threshold,
            (class_text(outcomes[0]), class_text(outcomes[1])),
            tuple(bundle.contract.duckdb_types.items()) if inputs else (),
            tuple(manifest.features) if features else (),
            bundle.contract.entity_pii,
        )

    @property
    def line_types(self) -> dict[str, str]:
        """The DuckDB type of each key of a line."""
        types = {"id": "VARCHAR", "us": "BIGINT", "request": "VARCHAR", "entity": "VARCHAR"}
        types["p"] = "DOUBLE"
        if self.inputs:
            fields = (f"{quoted(name)} {kind}" for name, kind in self.inputs)
            types["x"] = f"STRUCT({', '.join(fields)})"
        if self.features:
            types["f"] = "FLOAT[]"
        return types

    @property
    def columns(self) -> dict[str, str]:
        """The expression over a line's keys that each column of the Parquet file is."""
        negative, positive = map(literal, self.classes)
        threshold = f"{self.threshold!r}::DOUBLE"
        return {
            "prediction_id": "id",
            "time": "make_timestamp(us)",
            "use_case": literal(self.use_case),
            "environment": literal(self.environment),
            "role": literal(self.role),
            "version": literal(self.version),
            "digest": literal(self.digest),
            "request_id": "request",
            "entity_id": "entity",
            "probability": "p",
            "threshold": threshold,
            "class": f"CASE WHEN p >= {threshold} THEN {positive} ELSE {negative} END",
            "positive_class": positive,
            **{f"input__{name}": f"x.{quoted(name)}" for name, _ in self.inputs},
            **{f"feature__{name}": f"f[{n}]" for n, name in enumerate(self.features, 1)},
        }


class Labels(msgspec.Struct, frozen=True, tag=FEEDBACK):
    """What turned out to be true, by the id of the prediction.

    Attributes:
        use_case: Whose predictions they are about.
        environment: Of the server that was told.
    """

    use_case: str
    environment: str

    @property
    def line_types(self) -> dict[str, str]:
        """The DuckDB type of each key of a line."""
        names = ("id", "label", "source", "request", "observed", "feedback")
        return {"us": "BIGINT", **dict.fromkeys(names, "VARCHAR")}

    @property
    def columns(self) -> dict[str, str]:
        """The expression over a line's keys that each column of the Parquet file is."""
        return {
            "prediction_id": "id",
            "time": "make_timestamp(us)",
            "use_case": literal(self.use_case),
            "environment": literal(self.environment),
            "label": "label",
            "source": "source",
            "request_id": "request",
            "observed_at": "observed::TIMESTAMP",
            "feedback_id": "feedback",
        }


Stream = Predictions | Labels


class Head(msgspec.Struct, frozen=True):
    """The first line of a segment: all that is needed to turn its other lines into a file.

    Attributes:
        stream: What its records are.
        day: The UTC day of all of them, `YYYY-MM-DD`.
        opened: When it was started, in seconds since the epoch.
    """

    stream: Stream
    day: str
    opened: float

    def key(self, name: str) -> str:
        """Where the file of a segment lies under the storage root."""
        kind = SERVED if isinstance(self.stream, Predictions) else FEEDBACK
        return f"{self.stream.use_case}/{kind}/day={self.day}/{name}.parquet"


def class_text(value: bool | int | float | str) -> str:
    """A class as the log holds it: text as it is, everything else as JSON writes it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def literal(text: str) -> str:
    """Text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def struct_literal(entries: Mapping[str, Any]) -> str:
    """Texts by name as DuckDB writes a struct."""
    return "{" + ", ".join(f"{literal(n)}: {literal(v)}" for n, v in entries.items()) + "}"
