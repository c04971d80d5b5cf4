"""Publishes one event through Milepost's gateway, with the SDK of CloudEvents (the package cloudevents).

python publish.py http://127.0.0.1:8091/events token-file [structured|binary]
"""

import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

url, token_file, *mode = sys.argv[1:]

event = CloudEvent(
    {
        "specversion": "1.0",
        # An id names this claim for ever. It follows from the claim, so that a second run says the same thing again.
        "id": "terminal-2/permit-approved/EST/2027-04-15",
        "source": "//port-authority.example",
        "type": "milepost.milestone.reported.v1",
        "subject": "harbour/terminal-2",
        # When the claim was made. A publisher that may run twice takes it from its own records, not from the clock.
        "time": datetime(2026, 2, 3, 13, 30, tzinfo=UTC),
        "datacontenttype": "application/json",
    },
    {"milestone": "permit-approved", "classifier": "EST", "date": "2027-04-15"},
)
message = (to_binary if mode == ["binary"] else to_structured)(event, JSONFormat())
headers = {**message.headers, "Authorization": f"Bearer {Path(token_file).read_text(encoding='utf-8').strip()}"}
request = urllib.request.Request(url, message.body, headers)

# The same again after one of these, or after no answer; (source, id) makes it count once.
RETRIED, ATTEMPTS = {408, 429, 500, 502, 503, 504}, 10
for attempt in range(1, ATTEMPTS + 1):
    seconds = 5.0
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            print(f"published through {url}: {response.read().decode()}")
        break
    except urllib.error.HTTPError as error:
        if error.code not in RETRIED or attempt == ATTEMPTS:
            sys.exit(f"{error.code}: {error.read().decode()}")
        seconds = float(error.headers.get("Retry-After", seconds))
    except OSError as error:
        if attempt == ATTEMPTS:
            sys.exit(f"no answer: {error}")
    time.sleep(seconds)
