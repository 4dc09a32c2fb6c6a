"""The facade and its wiring: the only place that picks real things. Questions that need several services are answered here."""
