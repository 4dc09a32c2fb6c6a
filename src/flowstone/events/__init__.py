"""The spine: typed events, their catalogue, the dispatcher, spans and the ambient context.

What is said here is pure language: no storage, no logging set-up, no metric. Who listens is decided by the wiring.
"""
