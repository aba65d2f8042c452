"""``sources/<name>``: one fetch of a source, which lands what is new in it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.sources.fetch import fetch
from mlops_assets.lib.sources.inbox import Fetched, Place, SourceError
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages.checks import SUBJECT, Check, Checks, asset_key, common

STAGE = "sources"
KINDS = {"files": "file", "http": "url", "database": "sql", "synthetic": "generator"}
# Batches named in the metadata of one fetch; the landing sensor shows all of them.
SHOWN = 50


def checks(spec: UseCase, source: Source) -> Checks:
    """What is asked of a fetch; the subject is the digest of the source's part of the spec."""
    question = "The source has answered, and nothing that it gave was refused."
    return Checks(asset_key(spec, STAGE, source.name), (Check("fetched", question, gate=False),))


def build(spec: UseCase, source: Source) -> dg.Definitions:
    """The asset of one source with its check."""
    asked = checks(spec, source)

    @dg.asset(
        key=asked.asset,
        check_specs=asked.specs(),
        output_required=False,
        description=f"Lands what is new in the source {source.name} ({source.kind}) of "
        f"{spec.name}: each file becomes a batch of raw.",
        **common(spec, STAGE, KINDS[source.kind]),
    )
    def fetched(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        yield from results(context, asked, source, storage.batches(spec.name))

    return dg.Definitions(assets=[fetched])


def results(
    context: dg.AssetExecutionContext,
    asked: Checks,
    source: Source,
    place: Place,
    say: Callable[[Fetched], None] = lambda _: None,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Fetch a source into a place: the materialisation of its asset, and its check.

    Args:
        context: Of the run.
        asked: The declared checks.
        source: What is fetched.
        place: Where its files are handed over.
        say: Adds what the place knows of them.
    """
    subject = digest_of(source.model_dump(mode="json"))
    try:
        found = fetch(source, place, os.environ)
    except SourceError as error:
        yield asked.result(context, "fetched", False, subject, str(error))
        raise dg.Failure(str(error)) from None
    say(found)
    context.log.info(f"{source.name}: {found}")
    # What has landed does not change when its source is fetched again.
    yield dg.MaterializeResult(data_version=dg.DataVersion(subject), metadata=facts(found))
    yield asked.result(context, "fetched", not found.problems, subject, str(found))


def facts(found: Fetched) -> dict[str, Any]:
    """A fetch as the metadata of its asset."""
    return {
        "said": str(found),
        f"new {found.unit[1]}": len(found.new),
        "new bytes": sum(landed.size for landed in found.new),
        "landed": dg.MetadataValue.json([vars(each) for each in found.landed[:SHOWN]]),
        **found.about,
    }


def report(
    instance: dg.DagsterInstance, spec: UseCase, source: Source, found: Fetched | SourceError
) -> None:
    """Tell Dagster of a fetch outside a run, so that the UI shows it like any other.

    Args:
        instance: Dagster's records.
        spec: The use case.
        source: What was fetched.
        found: What was done, or why nothing was.
    """
    asked, subject = checks(spec, source), digest_of(source.model_dump(mode="json"))
    if isinstance(found, Fetched):
        materialised = dg.AssetMaterialization(
            asked.asset, metadata=facts(found), tags={"dagster/data_version": subject}
        )
        instance.report_runless_asset_event(materialised)
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=asked.asset,
            check_name="fetched",
            passed=isinstance(found, Fetched) and not found.problems,
            severity=dg.AssetCheckSeverity.WARN,
            description=str(found),
            metadata={SUBJECT: dg.MetadataValue.text(subject)},
        )
    )
