"""The storage root as a Dagster resource."""

import dagster as dg

from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.anchor import open_ledger


class StorageRoot(dg.ConfigurableResource[Storage]):
    """Data, bundles, ledgers and desired states under one root.

    Attributes:
        root: A local folder, made when first written to, or ``s3://bucket/prefix``.
    """

    root: str

    def open(self) -> Storage:
        """The storage at this root."""
        return Storage(self.root)

    def batches(self, use_case: str) -> Batches:
        """The batches of a use case."""
        return Batches(self.open(), use_case)

    def ledger(self, use_case: str) -> Ledger:
        """The ledger of a use case."""
        return open_ledger(self.open(), use_case)
