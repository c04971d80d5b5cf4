"""What `milepost notify --test` sends."""

from typing import Any, Final
from uuid import uuid4

import msgspec

from models.domain.forecast_changes import FORECAST_CHANGED, MILEPOST_SOURCE
from models.domain.timestamps import instant_from_epoch_ms
from streams.notify.webhook import SignedEvent

#: No programme of anybody.
SAMPLE_PROGRAMME: Final = "milepost-sample"

SAMPLE_TITLE: Final = "Milepost: a sample"
SAMPLE_LINES: Final = (
    "This is a sample: whoever reads it will be told here what moves a milestone, what that holds up, and why.",
    "Nothing has moved.",
)


def sample_event(now: float) -> SignedEvent:
    """Return a change of a programme that does not exist, under a new id."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": uuid4().hex,
        "source": MILEPOST_SOURCE,
        "type": FORECAST_CHANGED,
        "subject": f"{SAMPLE_PROGRAMME}/sample",
        "time": f"{instant_from_epoch_ms(round(now * 1000))}Z",
        "partitionkey": SAMPLE_PROGRAMME,
        "causationid": "sample",
        "causationsource": "/milepost/sample",
        "datacontenttype": "application/json",
        "data": {
            "milestone": "sample",
            "from": "2030-01-01",
            "to": "2030-01-15",
            "slip_days": 14,
            "driver": None,
            "state": "slipping",
        },
    }
    return SignedEvent(event["id"], msgspec.json.encode(event))
