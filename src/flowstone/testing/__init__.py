"""DOORS: what users test their pipelines and plug-ins with: contract suites, a pytest plugin, events captured, a clock you move.

May not live here: anything FlowStone needs to run. Nothing here is imported by another part of FlowStone.
"""
