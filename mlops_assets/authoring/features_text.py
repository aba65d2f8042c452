"""The draft of the features model: one SELECT that serving can run, and its docs and tests.

It is plain: numbers as they are, one column a category, and a flag for what is missing. What a
person knows about the data, such as a ratio or a band, is theirs to add.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mlops_assets.authoring.draft import Draft
from mlops_assets.authoring.names import keywords, slug, to_name
from mlops_assets.authoring.quoting import as_name, as_remark, as_sql, as_yaml
from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.features.dbt_project import model_name
from mlops_assets.lib.features.feature_check import source_call


@dataclass(frozen=True)
class Feature:
    """One column of the features model.

    Attributes:
        tests: Lines of YAML, one a data test.
    """

    name: str
    sql: str
    description: str
    tests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Features:
    """The features of a draft, by column of the contract.

    Attributes:
        exclusive: By column, the features of which exactly one is 1.
    """

    by_column: dict[str, list[Feature]]
    exclusive: dict[str, list[str]]


def features(draft: Draft) -> Features:
    """The features of a draft."""
    made: dict[str, list[Feature]] = {}
    exclusive: dict[str, list[str]] = {}
    # The names of the columns are taken: a feature of this name would hide one.
    taken = {"row_id", *(c.name for c in draft.contract.inputs)}
    for column in draft.contract.inputs:
        own = list(_features(draft.name, column, taken))
        made[column.name] = own
        if column.type == "category" and len(column.allowed or []) > 2:
            exclusive[column.name] = [feature.name for feature in own]
    return Features(made, exclusive)


def _features(use_case: str, column: Column, taken: set[str]) -> Iterator[Feature]:
    words = column.name.replace("_", " ")
    name, source = column.name, _identifier(column.name)

    def named(text: str) -> str:
        free = to_name(text, taken)
        taken.add(free)
        return free

    if column.type == "category":
        assert column.allowed is not None
        values = column.allowed if len(column.allowed) > 2 else column.allowed[-1:]
        for value in values:
            feature = named(f"{name}_{slug(str(value)) or 'other'}")
            comparison = "is not distinct from" if column.nullable else "="
            sql = f"({source} {comparison} {as_sql(value)})::float"
            yield Feature(feature, sql, f"1 if {words} is {value}.")
    else:
        feature = name if name not in keywords() else named(f"{name}_value")
        # The range is the contract's business: what breaks it never comes here.
        tests = []
        if not column.nullable:
            tests.append(f"- not_null: {{name: {use_case}_{feature}_present}}")
        said = f"1 if {words}." if column.type == "boolean" else column.description
        yield Feature(feature, f"{source}::float", said, tests)
    if column.nullable:
        feature = named(f"{name}_missing")
        yield Feature(feature, f"({source} is null)::float", f"1 if {words} is not recorded.")


def _identifier(name: str) -> str:
    return f'"{name}"' if name in keywords() else name


def sql_text(draft: Draft, made: Features) -> str:
    """The text of the dbt model."""
    lines = [
        "-- One row in, one row out: serving runs this very SELECT on a request. So: no join,",
        "-- window, aggregate, clock or chance. What is learned from data belongs to the model.",
        "select",
        "    row_id,",
    ]
    for column, own in made.by_column.items():
        lines += ["", f"    -- {column}"]
        lines += [f"    {feature.sql} as {feature.name}," for feature in own]
    lines[-1] = lines[-1].rstrip(",")
    return "\n".join([*lines, f"from {source_call(draft.name)}", ""])


def docs_text(draft: Draft, made: Features) -> str:
    """The text of the YAML beside it: what each feature is, and what must hold for it."""
    source = f"\"source('{draft.name}', 'validated')\""
    lines = [
        "models:",
        f"  - name: {model_name(draft.name)}",
        "    description: >",
        f"      First features of {draft.name}, one row each: numbers as they are, one column for",
        "      each value of a category, and a flag for what is not recorded.",
        "    data_tests:",
        "      - one_row_each:",
        f"          name: {draft.name}_one_row_each",
        f"          arguments: {{source_relation: {source}}}",
    ]
    for column, names in made.exclusive.items():
        lines += [
            "      - exactly_one_of:",
            f"          name: {draft.name}_one_{column}",
            "          arguments:",
            "            columns:",
            *(f"              - {name}" for name in names),
        ]
    lines += [
        "    columns:",
        "      - name: row_id",
        "        description: Batch and row, as in the validated data.",
        "        data_tests:",
        f"          - unique: {{name: {draft.name}_row_id_unique}}",
        f"          - not_null: {{name: {draft.name}_row_id_present}}",
    ]
    for feature in (feature for own in made.by_column.values() for feature in own):
        lines.append(f"      - name: {as_name(feature.name)}")
        lines.append(f"        description: {as_yaml(as_remark(feature.description))}")
        if feature.tests:
            lines.append("        data_tests:")
            lines += [f"          {test}" for test in feature.tests]
    return "\n".join([*lines, ""])
