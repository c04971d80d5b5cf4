// Publishes one event to Milepost: npm install, then node publish.js 127.0.0.1:9092 milepost.events

import { Kafka } from "kafkajs";

const [bootstrap, topic] = process.argv.slice(2);

const event = {
  specversion: "1.0",
  // An id names this claim for ever. It follows from the claim, so that a second run says the same thing again.
  id: "terminal-2/permit-approved/EST/2027-04-15",
  source: "//port-authority.example",
  type: "milepost.milestone.reported.v1",
  subject: "harbour/terminal-2",
  // When the claim was made. A publisher that may run twice takes it from its own records, not from the clock.
  time: new Date(Date.UTC(2026, 1, 3, 13, 30)).toISOString(),
  data: { milestone: "permit-approved", classifier: "EST", date: "2027-04-15" },
};

const producer = new Kafka({ brokers: bootstrap.split(",") }).producer({ allowAutoTopicCreation: false });
await producer.connect();
try {
  const [record] = await producer.send({
    topic,
    acks: -1, // all in-sync replicas
    messages: [
      {
        key: event.subject.split("/")[0],
        headers: { "content-type": "application/cloudevents+json" },
        value: JSON.stringify(event),
      },
    ],
  });
  console.log(`published to ${topic}, partition ${record.partition}, offset ${record.baseOffset}`);
} finally {
  await producer.disconnect();
}
