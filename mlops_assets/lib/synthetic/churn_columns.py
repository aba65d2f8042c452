"""The observed columns of a block of customers, drawn from their traits.

Each function draws one topic from its own random numbers: loyalty, thrift, demand and trouble
(standard normal, shape ``[4, n]``), the columns drawn before, and the drift. None of its random
numbers depends on the drift, so that two files that differ in it differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Columns = dict[str, NDArray[Any]]

# Drawn at once, each block from a seed of its own: a row depends neither on how many follow nor on
# how they are written.
BLOCK_ROWS = 65_536
REGIONS = ["north", "east", "south", "west"]
CONTRACTS = ["month_to_month", "one_year", "two_year"]
INTERNET = ["none", "dsl", "fibre"]
PAYMENTS = ["direct_debit", "card", "bank_transfer", "wallet"]
# The price list, a month.
FEE, LINE, SECURITY, STREAMING = 5.0, 12.0, 6.0, 10.0
INTERNET_PRICES = [0.0, 30.0, 50.0]
COMMITMENT_DISCOUNT = [1.0, 0.92, 0.85]


def list_price(columns: Columns) -> Floats:
    """What the price list asks for the services of each customer, a month."""
    import numpy as np

    return np.asarray(
        FEE
        + np.array(INTERNET_PRICES)[columns["internet_service"]]
        + LINE * columns["phone_lines"]
        + SECURITY * columns["security_addon"]
        + STREAMING * columns["streaming_addon"]
    )


def _customers(random: np.random.Generator, traits: Floats, _: Columns, drift: float) -> Columns:
    import numpy as np

    _, _, demand, _ = traits
    age = np.clip(np.round(48 - 4 * demand + 16 * random.standard_normal(BLOCK_ROWS)), 18, 95)
    household = 1 + random.poisson(np.exp(0.1 + 0.25 * demand))
    return {
        "region": random.integers(len(REGIONS), size=BLOCK_ROWS),
        # Not everyone tells.
        "age": np.where(random.random(BLOCK_ROWS) < 0.03, np.nan, age),
        "household_size": np.minimum(household, 8),
    }


def _contracts(
    random: np.random.Generator, traits: Floats, columns: Columns, drift: float
) -> Columns:
    import numpy as np

    loyalty, thrift, demand, _ = traits
    tenure = random.exponential(30 * np.exp(0.35 * loyalty))
    committed = 0.8 * loyalty - 0.6 * thrift + random.logistic(size=BLOCK_ROWS) - 0.8 * drift
    contract = np.digitize(committed, [0.1, 1.4])
    internet = np.digitize(0.9 * demand + random.logistic(size=BLOCK_ROWS), [-1.6, 0.1])
    online = internet > 0
    made: Columns = {
        "tenure_months": np.minimum(tenure, 120).astype(np.int64),
        "contract_type": contract,
        "internet_service": internet,
        "phone_lines": np.clip(
            random.poisson(np.exp(0.1 + 0.3 * demand)), np.where(online, 0, 1), 4
        ),
        "security_addon": online & (random.random(BLOCK_ROWS) < 0.35),
        "streaming_addon": online & (demand + random.logistic(size=BLOCK_ROWS) > 0.5),
        "discount_percent": 5
        * np.clip(np.round(1 + thrift + random.standard_normal(BLOCK_ROWS)), 0, 5).astype(np.int64),
    }
    # Old tariffs, moved lines and goodwill: few pay exactly what the list says.
    haggled = np.exp(0.05 + 0.12 * random.standard_normal(BLOCK_ROWS))
    rebate = np.array(COMMITMENT_DISCOUNT)[contract] * (1 - made["discount_percent"] / 100)
    made["monthly_charge"] = np.round(list_price(made) * rebate * haggled * (1 + 0.25 * drift), 2)
    billed = made["tenure_months"] * made["monthly_charge"]
    made["total_charges"] = np.round(billed * random.uniform(0.85, 1.0, BLOCK_ROWS), 2)
    return made


def _usage(random: np.random.Generator, traits: Floats, columns: Columns, drift: float) -> Columns:
    import numpy as np

    loyalty, _, demand, _ = traits
    speaking = 0.5 * demand + 0.6 * random.standard_normal(BLOCK_ROWS)
    minutes = 80 * columns["phone_lines"] * np.exp(speaking)
    surfing = 0.6 * demand + 0.5 * random.standard_normal(BLOCK_ROWS)
    volume = np.exp(surfing) * np.array([np.nan, 60.0, 180.0])[columns["internet_service"]]
    change = 0.06 * loyalty + 0.22 * random.standard_normal(BLOCK_ROWS) - 0.08 * drift
    return {
        "minutes_month": np.round(minutes, 1).clip(0, 40_000),
        "data_gb_month": np.round(volume, 2).clip(0, 20_000),
        "usage_change": np.round(np.clip(change, -1, 2), 3) + 0.0,  # no -0.0
    }


def _payments(
    random: np.random.Generator, traits: Floats, columns: Columns, drift: float
) -> Columns:
    import numpy as np

    loyalty, thrift, _, _ = traits
    automatic = 0.6 * loyalty + random.logistic(size=BLOCK_ROWS) > 0.2
    method = np.where(automatic, 0, random.integers(1, len(PAYMENTS), size=BLOCK_ROWS))
    failed = random.poisson(np.exp(-1.5 + 0.6 * thrift - 0.5 * automatic))
    late = random.gamma(1.2, 2 + 5 * np.minimum(failed, 3) + 3 * ~automatic)
    return {
        "payment_method": method,
        "failed_payments_6m": np.minimum(failed, 6),
        "days_late": np.round(np.minimum(late, 90), 1),
    }


def _support(
    random: np.random.Generator, traits: Floats, columns: Columns, drift: float
) -> Columns:
    import numpy as np

    loyalty, _, _, trouble = traits
    outages = np.minimum(random.poisson(np.exp(-0.9 + 0.6 * trouble)), 20)
    calls = random.poisson(np.exp(-0.8 + 0.45 * trouble + 0.35 * np.minimum(outages, 4)))
    calls = np.minimum(calls, 30)
    hours = np.exp(2.9 + 0.3 * trouble + 0.9 * random.standard_normal(BLOCK_ROWS)).clip(0.1, 720)
    felt = 3.6 + 0.5 * loyalty - 0.3 * calls.clip(0, 6) - 0.5 * ((hours > 48) & (calls > 0))
    answer = np.clip(np.round(felt + random.standard_normal(BLOCK_ROWS)), 1, 5)
    # Most leave the survey unanswered.
    answered = random.random(BLOCK_ROWS) < 0.45
    return {
        "outages_90d": outages,
        "support_calls_90d": calls,
        "resolution_hours": np.where(calls > 0, np.round(hours, 1), np.nan),
        "satisfaction": np.where(answered, answer, np.nan),
    }


DRAWS: list[Callable[[np.random.Generator, Floats, Columns, float], Columns]] = [
    _customers,
    _contracts,
    _usage,
    _payments,
    _support,
]
