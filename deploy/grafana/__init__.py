"""Grafana's dashboards, written as code; `python -m deploy.grafana` writes the JSON that Grafana is given.

grafana-foundation-sdk builds them, a dependency of development: the distribution carries the JSON, not these modules.
"""
