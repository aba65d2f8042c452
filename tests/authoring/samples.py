"""A sample with everything in it that goes wrong with other people's CSVs."""

import csv
import datetime
import random
from pathlib import Path
from typing import Any

HEADER = [
    "CustomerID", "Account Length", "Total_Charges", "State", "IntlPlan", "Contact", "Zip Code",
    "notes", "score", "visits", "constant", "empty", "group", "signup", "cancelled", "late", "yes",
    "kind {x}", "phone_calls", "Churn?",
]  # fmt: skip


def row(index: int, draw: random.Random) -> list[Any]:
    leaves = draw.random() < 0.2
    return [
        f"C{index:05}",
        draw.randint(1, 240),
        "unknown" if index % 17 == 0 else round(draw.lognormvariate(3, 1), 2),
        draw.choice(["NY", "CA", "NO", "NA"]),
        draw.choice(["yes", "no", ""]),
        f"a{index}@example.org",
        f"{draw.randint(501, 99999):05}",
        f"called {draw.random()} times",
        round(draw.gauss(0, 1) + leaves, 4),
        draw.choice([-999, 1, 2, 3, 4, 5, 40]),
        "k",
        "",
        draw.choice(["a'b", "{{ x }}", 'say "hi"', "no"]),
        (datetime.date(2024, 1, 1) + datetime.timedelta(index)).isoformat(),
        draw.choice(["2024", "2025"]) if leaves else "",
        round(draw.gauss(3 * leaves, 1), 3),
        draw.choice([0, 1]),
        draw.choice(["1.0", "2.0", "<5", ">5"]),
        draw.randint(0, 9),
        str(leaves),
    ]


def write(path: Path, rows: int = 600, delimiter: str = ",") -> Path:
    draw = random.Random(7)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerow(HEADER)
        writer.writerows(row(index, draw) for index in range(rows))
    return path
