"""Pure functions of the platform: no module in this package imports Dagster."""
