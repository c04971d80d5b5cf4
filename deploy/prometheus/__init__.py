"""What Prometheus and Alertmanager need to watch Milepost, and how to render it for other addresses."""
