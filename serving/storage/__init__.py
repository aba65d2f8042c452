"""Where desired states and bundles come from."""
