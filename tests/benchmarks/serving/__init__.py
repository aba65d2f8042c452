"""Everything that docs/figures.md says about serving; see `__main__`."""
