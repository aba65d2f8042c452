"""Customers of a telephone and internet company, and who of them leaves within the next weeks.

The causal structure. Four traits of a customer are drawn and never written: loyalty, thrift, demand
and trouble with the line. They make what is observed:

    loyalty  -> tenure, contract, payment by direct debit, satisfaction, steady usage
    thrift   -> short contract, discount, failed and late payments
    demand   -> internet, phone lines, add-ons, minutes, data; with the price list -> charges
    trouble  -> outages -> support calls, their duration -> satisfaction

The probability of leaving follows from what is observed alone, by ``log_odds`` below: contracts
from month to month and the first months weigh most; a bill above the price list weighs more without
a commitment, a high one more for newcomers; a support call counts double where the fault stayed for
two days; failed and late payments, falling usage and a bad survey add to it. The traits have no
other way to the outcome, and a value that is absent enters as absent. So the best reachable ROC AUC
(``reachable``) is that of this probability, and features of these columns can reach it.

Drift, from 0 (none) to 1, is the state of the world in one file; a series of files with more and
more of it is drift over time. It moves the inputs (prices rise by up to a quarter, contracts become
shorter, usage falls) and the relation itself (support calls weigh up to twice as much, the first
months half as much).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.synthetic.churn_columns import (
    BLOCK_ROWS,
    CONTRACTS,
    DRAWS,
    INTERNET,
    PAYMENTS,
    REGIONS,
    list_price,
)

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mlops_assets.lib.synthetic.churn_columns import Columns, Floats

# A billing month: each customer is seen at the start of one of its days.
PERIOD_DAYS = 28
FIRST_NAMES = ["ana", "ben", "chloe", "dev", "elif", "femi", "grace", "hugo", "ines", "jun"]
NULLABLE = ["age", "data_gb_month", "resolution_hours", "satisfaction"]

Share = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(2200, 1, 1))]


class ChurnOptions(BaseModel):
    """What is drawn. A base of customers is named by its seed and start: no two share a customer.

    The other options change what they are about and redraw nothing else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(10_000, ge=1, le=10**9, description="customers")
    seed: int = Field(1, ge=0, lt=2**63, description="makes every draw repeatable")
    start: Day = Field(date(2025, 1, 1), description="first day of the billing month")
    drift: Share = Field(0.0, description="how far prices, contracts and causes have moved, 0 to 1")
    missing: Share = Field(0.0, description="share of values lost in each column that may lack one")
    bad_rows: Share = Field(0.0, description="share of rows that break the contract")
    label_delay: int = Field(
        0, ge=0, le=3650, description="days until an outcome is known; rows without one wait"
    )
    as_of: Day | None = Field(
        None, description="day on which the file is written; default: the end of the month"
    )
    format: Literal["csv", "parquet"] = Field("csv", description="of the file, csv or parquet")

    @model_validator(mode="after")
    def _something_is_known(self) -> Self:
        if self.last_known < self.start:
            raise ValueError(
                f"label_delay: {self.label_delay} days after {self.start}, the first day, nothing "
                f"is known as of {self.written_on}; set as_of to a later day"
            )
        return self

    @property
    def written_on(self) -> date:
        """The day up to which outcomes are known."""
        return self.as_of or self.start + timedelta(days=PERIOD_DAYS)

    @property
    def last_known(self) -> date:
        """The last snapshot whose outcome is known when the file is written."""
        return self.written_on - timedelta(days=self.label_delay)


@dataclass(frozen=True)
class Block:
    """Some consecutive customers.

    Attributes:
        frame: The columns of the contract, the outcome last; only customers whose is known.
        probability: Of leaving; it is never written. Shape ``[n]``.
        fault: Chooses what is broken in a row: 0 to 1, NaN in a good row. Shape ``[n]``.
    """

    frame: pl.DataFrame
    probability: Floats
    fault: Floats


def blocks(options: ChurnOptions) -> Iterator[Block]:
    """Draw the customers, block by block, in a memory that does not grow with their number."""
    for first in range(0, options.rows, BLOCK_ROWS):
        yield _block(options, first, min(BLOCK_ROWS, options.rows - first))


def log_odds(columns: Columns, drift: float = 0.0) -> Floats:
    """The log-odds of leaving, from observed columns alone.

    Args:
        columns: The inputs by name, shape ``[n]``; categories as indices, NaN for an absent value.
        drift: 0 to 1.

    Returns:
        Shape ``[n]``.
    """
    import numpy as np

    newcomer = np.exp(-columns["tenure_months"] / 9)
    free = columns["contract_type"] == 0
    above = np.clip(columns["monthly_charge"] / list_price(columns) - 1, -0.3, 0.6)
    slow = columns["resolution_hours"] > 48
    age, answer = columns["age"], columns["satisfaction"]
    return np.asarray(
        -4.25
        + 1.6 * newcomer * (1 - drift / 2)
        + np.array([1.3, 0.0, -1.2])[columns["contract_type"]]
        + 3.2 * above * np.where(free, 1.0, 0.35)
        + 0.9 * newcomer * (columns["monthly_charge"] > 80)
        + 0.3 * np.minimum(columns["support_calls_90d"], 5) * np.where(slow, 2, 1) * (1 + drift)
        + 0.6 * np.minimum(columns["failed_payments_6m"], 3)
        + 0.04 * np.minimum(columns["days_late"], 30)
        + 2.2 * np.maximum(-columns["usage_change"], 0)
        + np.select([answer <= 1, answer <= 2, answer >= 5, answer >= 4], [1.2, 0.7, -0.7, -0.4])
        + 0.15 * np.minimum(columns["outages_90d"], 4)
        + 0.4 * ((columns["internet_service"] == 2) & ~columns["security_addon"])
        + 0.3 * (age < 30)
    )


def _streams(options: ChurnOptions, first: int) -> Iterator[np.random.Generator]:
    """Random numbers for each topic of a block: where one draws more, no other one changes."""
    import numpy as np

    base = np.random.SeedSequence(
        [options.seed, options.start.toordinal()], spawn_key=(first // BLOCK_ROWS,)
    )
    while True:
        yield np.random.default_rng(base.spawn(1)[0])


def _block(options: ChurnOptions, first: int, rows: int) -> Block:
    import numpy as np

    streams = _streams(options, first)
    traits = next(streams).standard_normal((4, BLOCK_ROWS))
    columns: Columns = {}
    for draw in DRAWS:
        columns |= draw(next(streams), traits, columns, options.drift)
    lost = next(streams).random((len(NULLABLE), BLOCK_ROWS)) < options.missing
    for name, gone in zip(NULLABLE, lost, strict=True):
        columns[name] = np.where(gone, np.nan, columns[name])
    probability = 1 / (1 + np.exp(-log_odds(columns, options.drift)))
    outcome, other = next(streams), next(streams)
    columns["churned"] = outcome.random(BLOCK_ROWS) < probability
    day = other.integers(PERIOD_DAYS, size=BLOCK_ROWS)
    bad, fault = other.random((2, BLOCK_ROWS))
    fault = np.where(bad < options.bad_rows, fault, np.nan)
    known = day <= (options.last_known - options.start).days
    known[rows:] = False
    frame = _frame(options, first, day, columns).filter(known)
    return Block(frame, probability[known], fault[known])


def _frame(
    options: ChurnOptions, first: int, day: NDArray[np.int64], columns: Columns
) -> pl.DataFrame:
    """The columns as a file has them."""
    import numpy as np
    import polars as pl

    base = digest_of([options.seed, options.start.isoformat()])[:8]
    number = np.arange(first, first + len(day))
    start = datetime.combine(options.start, time())
    labels = {
        "region": REGIONS,
        "contract_type": CONTRACTS,
        "internet_service": INTERNET,
        "payment_method": PAYMENTS,
        "churned": ["no", "yes"],
    }
    values = {}
    for name, column in columns.items():
        series = pl.Series(name, column)
        if name in labels:
            series = pl.Series(name, labels[name]).gather(column.astype(np.uint32))
        elif name in NULLABLE:
            series = series.fill_nan(None)
            series = series.cast(pl.Int64) if name in ("age", "satisfaction") else series
        values[name] = series
    first_names = pl.Series(FIRST_NAMES).gather(number % len(FIRST_NAMES))
    person = {"number": number, "day": day, "first_name": first_names}
    numbered = pl.col("number").cast(pl.String).str.zfill(9)
    return pl.DataFrame({**person, **values}).select(
        pl.format("{}-{}", pl.lit(base), numbered).alias("customer_id"),
        (pl.lit(start) + pl.duration(days="day")).dt.cast_time_unit("us").alias("snapshot_at"),
        pl.format("{}.{}@example.com", "first_name", "number").alias("email"),
        *values,
    )
