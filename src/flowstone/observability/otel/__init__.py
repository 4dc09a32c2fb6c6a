"""OpenTelemetry: spans, metrics and log records made of events. It is one observer among others.

It is imported only where it is asked for, and nothing here may be needed by a run.
"""
