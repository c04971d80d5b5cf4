"""Alerts, recording rules and expositions, judged by promtool and amtool."""
