"""A batch held against the limits of the spec: what passes, what is refused, what is only said."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median

from mlops_assets.lib.spec.quality import Limit
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.validation.result import Validation

# Fewer earlier batches say nothing about what is usual.
EARLIER_BATCHES = 3
# Clocks differ, and a day is a day somewhere.
LATEST = timedelta(days=1)
Answer = tuple[str, bool, str]


def _limit(spec: UseCase, column: str) -> Limit:
    return spec.quality.missing_by_column.get(column, spec.quality.missing)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def judge(
    spec: UseCase,
    found: Validation,
    earlier: Sequence[int] = (),
    landed_at: datetime | None = None,
) -> list[Answer]:
    """Hold a batch against the limits of the spec.

    Args:
        spec: The use case.
        found: The counts of the batch.
        earlier: Rows of each earlier accepted batch.
        landed_at: When the batch landed, UTC, without a zone; needed where rows have an event time.

    Returns:
        Check, whether it passed, and what was found, for every check but ``schema``.
    """
    quality = spec.quality
    quarantined = _share(found.quarantined, found.rows)
    duplicates = _share(found.duplicates, found.rows)
    low, high = quality.positive_rate
    over = {
        column: f"{column} {share:.1%} (limit {_limit(spec, column).block:.0%})"
        for column, share in found.missing.items()
        if share > _limit(spec, column).block
    }
    reasons = "; ".join(
        f"{found.examples[kind]} ({count} {'row' if count == 1 else 'rows like it'})"
        for kind, count in found.reasons.most_common()
    )
    worst = max(found.missing, key=lambda column: found.missing[column])
    warnings = [
        f"{column} is missing in {share:.1%} of the rows"
        for column, share in found.missing.items()
        if share > _limit(spec, column).warn
    ]
    if quarantined > quality.quarantined.warn:
        warnings.append(f"{found.quarantined} of {found.rows} rows are in quarantine ({reasons})")
    if duplicates > quality.duplicates.warn:
        warnings.append(f"{found.duplicates} rows repeat an earlier one")
    repeated_keys = _share(found.repeated_keys, found.rows)
    if repeated_keys > quality.repeated_keys.warn:
        warnings.append(f"{found.repeated_keys} rows repeat the key of an earlier one")
    unknown = {name: _share(count, found.rows) for name, count in found.unknown.items()}
    warnings += [
        f"{name} has {found.unknown[name]} values that the contract does not know"
        for name, share in unknown.items()
        if share > quality.unknown_categories.warn
    ]
    usual, factor = _row_count(found.rows, earlier)
    if factor > quality.row_count.warn:
        warnings.append(usual)
    classes = ""
    if found.valid and found.positives in (0, found.valid):
        target = spec.contract.target
        label = target.positive_label if found.positives else target.negative_label
        classes = f": all are of one class, {label!r}, and teach nothing by themselves"
        warnings.append(f"all rows are of one class, {label!r}")
    answers = [
        (
            "ranges",
            found.valid > 0 and quarantined <= quality.quarantined.block,
            f"{found.quarantined} of {found.rows} rows ({quarantined:.1%}) are in quarantine"
            + (f": {reasons}" if reasons else ""),
        ),
        (
            "missing",
            not over,
            "over the limit: " + ", ".join(over.values())
            if over
            else f"most in {worst}: {found.missing[worst]:.1%}",
        ),
        (
            "duplicates",
            duplicates <= quality.duplicates.block,
            f"{found.duplicates} of {found.rows} rows ({duplicates:.1%}) repeat an earlier one",
        ),
        (
            "target_distribution",
            found.valid > 0 and low <= found.positive_rate <= high,
            f"{found.positives} of {found.valid} valid rows ({found.positive_rate:.1%}) "
            f"are positive{classes}",
        ),
        (
            "categories",
            all(share <= quality.unknown_categories.block for share in unknown.values()),
            "never seen: "
            + ", ".join(f"{name} in {count} rows" for name, count in found.unknown.items())
            if unknown
            else "every category is known",
        ),
        ("row_count", factor <= quality.row_count.block, usual),
        ("quality", found.quality >= quality.score, f"quality score {found.quality:g} of 100"),
        ("warnings", not warnings, "; ".join(warnings) or "nothing to warn about"),
    ]
    if spec.contract.key:
        said = f"{found.repeated_keys} of {found.rows} rows ({repeated_keys:.1%}) repeat a key"
        answers.append(("key", repeated_keys <= quality.repeated_keys.block, said))
    if spec.contract.event_time is not None:
        assert landed_at is not None
        answers.append(("freshness", *_freshness(spec, found, landed_at)))
    return answers


def _row_count(rows: int, earlier: Sequence[int]) -> tuple[str, float]:
    """What the number of rows is to be said about, and by what factor it is unusual."""
    if len(earlier) < EARLIER_BATCHES:
        return f"{rows} rows; {len(earlier)} earlier batches do not say what is usual", 1.0
    usual = median(earlier)
    factor = max(rows / usual, usual / rows) if rows and usual else float("inf")
    said = f"{rows} rows, where the median of {len(earlier)} earlier batches is {usual:g}"
    return said, factor


def _freshness(spec: UseCase, found: Validation, landed_at: datetime) -> tuple[bool, str]:
    if found.newest is None:
        return False, "no valid row has an event time"
    days = spec.quality.freshness_days
    said = f"the newest {spec.contract.event_time} is {found.newest}, landed {landed_at}"
    if found.newest > landed_at + LATEST:
        return False, f"{said}: it lies in the future"
    if days is not None and found.newest < landed_at - timedelta(days=days):
        return False, f"{said}: more than {days:g} days before"
    return True, said
