"""The features: one SQL model a use case, run by dbt and carried to the serving app."""
