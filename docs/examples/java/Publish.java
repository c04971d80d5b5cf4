// Publishes one event to Milepost, with the library kafka-clients and slf4j-api, which it needs:
// java -cp 'jars/*' Publish.java 127.0.0.1:9092 milepost.events

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

class Publish {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        // When the claim was made. A publisher that may run twice takes it from its own records, not from the clock.
        Instant time = Instant.parse("2026-02-03T13:30:00Z");
        // An id names this claim for ever. It follows from the claim, so that a second run says the same thing again.
        String id = "terminal-2/permit-approved/EST/2027-04-15";
        // Texts that may hold quotation marks need a JSON library.
        String event = String.format("""
            {
              "specversion": "1.0",
              "id": "%s",
              "source": "//port-authority.example",
              "type": "milepost.milestone.reported.v1",
              "subject": "harbour/terminal-2",
              "time": "%s",
              "data": {"milestone": "permit-approved", "classifier": "EST", "date": "2027-04-15"}
            }""", id, time);

        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0], "acks", "all");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            var message = new ProducerRecord<>(topic, "harbour", event);
            message.headers().add("content-type", "application/cloudevents+json".getBytes(StandardCharsets.UTF_8));
            // Without this wait an error would go unseen.
            var record = producer.send(message).get();
            System.out.printf("published to %s, partition %d, offset %d%n", topic, record.partition(), record.offset());
        }
    }
}
