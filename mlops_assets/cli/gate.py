"""The command that CI asks: would these data and this code give a version that may serve?"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from mlops_assets.cli.commands import Commands
from mlops_assets.lib.spec.specs import UnknownUseCaseError, load_spec

PASSED, REFUSED, WRONG_CALL = 0, 1, 2
NONE = "none"


def add(commands: Commands) -> None:
    """Declare the command."""
    gate = commands.add_parser(
        "gate",
        help="data to verdict in a folder of its own, with a report for CI",
        description="Exits with 0 if the version is approved, 1 if not, 2 for a wrong call.",
    )
    gate.add_argument("use_case", nargs="?", default="heart_disease", help="default: %(default)s")
    gate.add_argument(
        "--data",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="default: gate.reference_data of the spec, or what its synthetic sources give",
    )
    gate.add_argument(
        "--report",
        type=Path,
        default=Path("build/gate"),
        metavar="DIR",
        help="for report.md, summary.md, junit.xml and plots (default: %(default)s)",
    )
    gate.add_argument(
        "--against",
        default=NONE,
        metavar="ROOT",
        help="a storage root whose champion the version is held against (default: %(default)s)",
    )
    gate.add_argument("--data-only", action="store_true", help="ingest and its checks, no training")
    gate.add_argument(
        "--home", type=Path, help="a folder that keeps all state (default: one that is removed)"
    )
    gate.set_defaults(run=_gate)


def _gate(options: argparse.Namespace) -> int:
    from mlops_assets.definitions import defs
    from mlops_assets.operations.gate.champion import NoChampionError
    from mlops_assets.operations.gate.reference import MissingDataError
    from mlops_assets.operations.gate.report import as_text, write_report
    from mlops_assets.operations.gate.run import gate, own_home

    report: Path = options.report.absolute()
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlops-gate-"))
        stack.enter_context(own_home(options.home or Path(scratch)))
        try:
            outcome = gate(
                load_spec(options.use_case),
                defs,
                options.data,
                against=None if options.against == NONE else options.against,
                data_only=options.data_only,
                say=lambda line: print(line, flush=True),
            )
        except (MissingDataError, NoChampionError, UnknownUseCaseError) as error:
            print(f"mlops gate: {error}", file=sys.stderr)
            return WRONG_CALL
        written = write_report(outcome, report)
    print(as_text(outcome))
    print(f"  report   {written}")
    return PASSED if outcome.passed else REFUSED
