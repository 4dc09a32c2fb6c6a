"""What FlowStone costs, as ratios to floors measured in the same run. ``python -m benchmarks [NAME ...]`` prints JSON lines.

Machines are noisy: quote ratios and medians. Nothing here is a test; no number here fails a build.
"""
