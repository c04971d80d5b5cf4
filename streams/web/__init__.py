"""The worker's web server: metrics, probes, board and API."""
