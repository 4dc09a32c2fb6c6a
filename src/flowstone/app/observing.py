"""What can be observed: metrics, groups of errors, lines, messages. Every method is a thin call of its room."""

from __future__ import annotations

from flowstone.app.questions import Questions


class Observing(Questions):
    """The questions of :class:`FlowStone`, and what observability adds to them."""
