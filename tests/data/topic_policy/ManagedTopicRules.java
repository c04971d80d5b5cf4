import java.util.Map;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** Refuses settings of topics as managed Kafkas do, by the beginning of a topic's name. */
public class ManagedTopicRules implements CreateTopicPolicy {
    private static final java.util.Set<String> SERVERLESS = java.util.Set.of(
        "cleanup.policy", "compression.type", "max.message.bytes", "message.timestamp.type", "retention.ms", "retention.bytes");

    @Override
    public void configure(Map<String, ?> configs) {
    }

    @Override
    public void validate(RequestMetadata topic) {
        Map<String, String> configs = topic.configs();
        if (topic.topic().startsWith("confluent.")) {
            atMost(configs, "delete.retention.ms", 60566400000L);
            atMost(configs, "max.message.bytes", 8388608L);
        } else if (topic.topic().startsWith("serverless.")) {
            for (String name : configs.keySet()) {
                if (!SERVERLESS.contains(name)) {
                    throw new InvalidConfigurationException("Config " + name + " is not supported");
                }
            }
        } else if (topic.topic().startsWith("hubs.")) {
            if (configs.getOrDefault("retention.ms", "").equals("-1")) {
                throw new InvalidConfigurationException("retention.ms must not be negative");
            }
            atMost(configs, "retention.ms", 7776000000L);
            for (String name : configs.keySet()) {
                if (!name.equals("retention.ms") && !name.equals("cleanup.policy")) {
                    throw new PolicyViolationException(name + " cannot be set");
                }
            }
        } else if (topic.topic().startsWith("closed.")) {
            throw new PolicyViolationException("topics are made in the console");
        }
    }

    private static void atMost(Map<String, String> configs, String name, long limit) {
        if (Long.parseLong(configs.getOrDefault(name, "0")) > limit) {
            throw new PolicyViolationException(name + " must be at most " + limit);
        }
    }

    @Override
    public void close() {
    }
}
