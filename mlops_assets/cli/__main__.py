"""``python -m mlops_assets.cli``: the command where it is not on the path."""

import sys

from mlops_assets.cli import main

sys.exit(main())
