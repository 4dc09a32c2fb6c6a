"""What FlowStone costs, as medians beside floors measured in the same run. ``python -m benchmarks [NAME ...]`` prints JSON lines.

Nothing here is a test, and no number here fails a build; that the harness works is tested with tiny sizes.
"""
