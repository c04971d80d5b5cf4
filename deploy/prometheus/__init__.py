"""What Prometheus and Alertmanager need to watch Milepost, and how to put it somewhere else than on one machine."""
