"""Observers and what they need: log shapes, the capture of users' lines, spans, metrics with their definitions, fold and shapes.

May not live here: anything that reads the store; who needs its facts is handed them. Imports events, never stores.
"""
