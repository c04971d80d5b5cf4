"""Programs around the stream, each a plain kafka-python client."""
