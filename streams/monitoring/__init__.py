"""Health, consumer lag, watchdog."""
