// Publishes one event through Milepost's gateway with the SDK of CloudEvents: npm install, then
// node publish.js http://127.0.0.1:8091/events token-file [structured|binary]

import { readFileSync } from "node:fs";
import { CloudEvent, HTTP } from "cloudevents";

const [url, tokenFile, mode = "structured"] = process.argv.slice(2);

const event = new CloudEvent({
  // An id names this claim for ever. It follows from the claim, so that a second run says the same thing again.
  id: "terminal-2/permit-approved/EST/2027-04-15",
  source: "//port-authority.example",
  type: "milepost.milestone.reported.v1",
  subject: "harbour/terminal-2",
  // When the claim was made. A publisher that may run twice takes it from its own records, not from the clock.
  time: new Date(Date.UTC(2026, 1, 3, 13, 30)).toISOString(),
  data: { milestone: "permit-approved", classifier: "EST", date: "2027-04-15" },
});

const message = mode === "binary" ? HTTP.binary(event) : HTTP.structured(event);
const authorization = `Bearer ${readFileSync(tokenFile, "utf8").trim()}`;

// The same again after one of these, or after no answer; (source, id) makes it count once.
const retried = [408, 429, 500, 502, 503, 504];
const attempts = 10;
for (let attempt = 1; ; attempt += 1) {
  const response = await fetch(url, {
    method: "POST",
    headers: { ...message.headers, authorization },
    body: message.body,
    signal: AbortSignal.timeout(30_000),
  }).catch((error) => new Response(`no answer: ${error.cause ?? error}`, { status: 504 }));
  const answer = await response.text();
  if (response.ok) {
    console.log(`published through ${url}: ${answer}`);
    break;
  }
  if (!retried.includes(response.status) || attempt === attempts) throw new Error(`${response.status}: ${answer}`);
  await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("retry-after") ?? 5)));
}
