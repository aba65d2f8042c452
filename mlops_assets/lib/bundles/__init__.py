"""Bundles as training makes, tries and uses them; ``serving.bundle`` is how they are loaded."""
