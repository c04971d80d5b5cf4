"""Publishes one event to Milepost, with the package kafka-python.

python publish.py 127.0.0.1:9092 milepost.events
"""

import json
import sys
from datetime import UTC, datetime

from kafka import KafkaProducer

bootstrap, topic = sys.argv[1:]

event = {
    "specversion": "1.0",
    # An id names this claim for ever. It follows from the claim, so that a second run says the same thing again.
    "id": "terminal-2/permit-approved/EST/2027-04-15",
    "source": "//port-authority.example",
    "type": "milepost.milestone.reported.v1",
    "subject": "harbour/terminal-2",
    # When the claim was made. A publisher that may run twice takes it from its own records, not from the clock.
    "time": datetime(2026, 2, 3, 13, 30, tzinfo=UTC).isoformat(),
    "data": {"milestone": "permit-approved", "classifier": "EST", "date": "2027-04-15"},
}

producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
future = producer.send(
    topic,
    key=event["subject"].partition("/")[0].encode(),
    headers=[("content-type", b"application/cloudevents+json")],
    value=json.dumps(event).encode(),
)
# Without this wait the program would end before Kafka has the event; an error ends it with a traceback.
record = future.get(timeout=30)
producer.close()
print(f"published to {record.topic}, partition {record.partition}, offset {record.offset}")
