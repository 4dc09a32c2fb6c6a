"""What Prometheus and Grafana read: exposition, process series, and the dashboard and alerts built of the metrics' definitions.

No name of a metric is written here that is not taken from its definition.
"""
