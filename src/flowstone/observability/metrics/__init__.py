"""Metrics: definitions, which aggregate nothing, the default ones, and the fold of recorded events into series.

How series are shown, and where they are kept, is not known here.
"""
