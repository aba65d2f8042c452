"""What a module of this package adds its commands to (generic for type checkers only)."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
