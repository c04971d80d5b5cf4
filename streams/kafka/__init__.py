"""Faust on Kafka: transport, consumer thread, producer."""
