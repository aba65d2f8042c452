"""Which bundles serve, in which role, and who of them answers a request."""
