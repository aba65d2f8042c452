"""Times at which something is done, as five cron fields in UTC."""

from datetime import UTC, datetime
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator


def _cron(text: str) -> str:
    """Refuse what no schedule could be made of."""
    fields = len(text.split())
    if fields != 5:
        raise ValueError(f"{text!r} has {fields} fields; a schedule has five: * * * * *")
    try:
        CronSim(text, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"{text!r} is no schedule: {error}") from None
    return text


Cron = Annotated[str, AfterValidator(_cron)]
