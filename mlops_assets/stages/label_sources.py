"""``sources/<name>`` of labels: one fetch, which adds what is new in it to the prediction log."""

import os
from collections.abc import Iterator

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.labels.place import LabelPlace
from mlops_assets.lib.sources.fetch import fetch
from mlops_assets.lib.sources.inbox import SourceError
from mlops_assets.lib.spec.performance import LabelSource
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import sources
from mlops_assets.stages.checks import common


def build(spec: UseCase, labels: LabelSource) -> dg.Definitions:
    """The asset of one source of labels with its check."""
    asked = sources.checks(spec, labels.source)
    subject = digest_of(labels.model_dump(mode="json"))

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
        try:
            found = fetch(labels.source, place, os.environ)
        except SourceError as error:
            yield asked.result(context, "fetched", False, subject, str(error))
            raise dg.Failure(str(error)) from None
        place.say(found)
        context.log.info(f"{labels.name}: {found}")
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(subject), metadata=sources.facts(found)
        )
        yield asked.result(context, "fetched", not found.problems, subject, str(found))

    return dg.Definitions(assets=[fetched])
