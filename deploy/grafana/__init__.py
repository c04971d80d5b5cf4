"""Grafana's dashboards as code: `python -m deploy.grafana` writes the JSON that Grafana reads.

It needs grafana-foundation-sdk, a dependency of development, so the distribution holds the JSON and not these modules.
"""
