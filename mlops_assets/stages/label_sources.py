"""``sources/<name>`` of labels: one fetch, which adds what is new in it to the prediction log."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lib.labels.place import LabelPlace
from mlops_assets.lib.spec.performance import LabelSource
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import sources
from mlops_assets.stages.checks import common


def build(spec: UseCase, labels: LabelSource) -> dg.Definitions:
    """The asset of one source of labels with its check."""
    asked = sources.checks(spec, labels.source)

    @dg.asset(
        key=asked.asset,
        check_specs=asked.specs(),
        output_required=False,
        description=f"Adds the labels that are new in {labels.name} ({labels.source.kind}) to the "
        f"prediction log of {spec.name}.",
        **common(spec, sources.STAGE, sources.KINDS[labels.source.kind]),
    )
    def fetched(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        place = LabelPlace(storage.open(), spec, labels)
        yield from sources.results(context, asked, labels.source, place, place.say)

    return dg.Definitions(assets=[fetched])
