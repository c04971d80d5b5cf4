"""The gateway: CloudEvents over HTTP, checked and published to Kafka. It needs no Faust and no database."""
