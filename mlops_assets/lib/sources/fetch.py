"""Fetching a source of any kind."""

from collections.abc import Mapping
from importlib import import_module

from mlops_assets.lib.sources.inbox import Fetched, Inbox, Place, SourceError
from mlops_assets.lib.sources.spec import Source


def fetch(source: Source, batches: Place, environment: Mapping[str, str]) -> Fetched:
    """Land what is new in a source.

    It may be killed at any point and started again: nothing is lost, and nothing lands twice.

    Args:
        source: Of the spec.
        batches: Of the use case, or where else its files are handed over.
        environment: Where the credentials are.

    Raises:
        SourceError: If the source cannot be read or what it gives is refused. Neither the message
            nor the chain of exceptions shows a credential.
    """
    inbox = Inbox(batches, source.name, environment)
    module = import_module(f"mlops_assets.lib.sources.{source.kind}")
    failure = ""
    try:
        for variable in source.variables:
            inbox.secret(variable)
        with inbox.alone():
            fetched: Fetched = module.fetch(source, inbox)
    except (SourceError, *module.errors()) as error:
        failure = inbox.redacted(error) or type(error).__name__
    if failure:
        # Raised out here, so that the library's own exception, which may hold a secret, is not kept
        # as the context of this one and printed with it.
        raise SourceError(f"source {source.name}: {failure}")
    fetched.problems = [inbox.redacted(problem) for problem in fetched.problems]
    return fetched
