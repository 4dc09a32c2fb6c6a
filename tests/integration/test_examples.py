"""Each example runs alone, as a reader would run it, and prints what it is there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LONGEST = 60  # lines

SHOWS = {
    "13_due_times_and_notifications.py": [
        "20 Nov, 08:00: nothing is overdue",
        (
            "orders 2026-11-20 is overdue (shop, orders, 2026-11-20, 2026-11-21 06:30 UTC, 30 min, sales) "
            "next: flowstone explain orders"
        ),
        "21 Nov, 08:00: orders 2026-11-20 overdue since now; 1 overdue in all",
        "21 Nov, 09:00: 1 overdue in all",
        "overdue: []",
        "told: [('asset.overdue', 'delivered'), ('run.failed', 'delivered'), ('run.recovered', 'delivered')]",
    ],
    "14_approvals.py": [
        "the run is waiting, because people must decide: True",
        "asked: 2 prices. May we?",
        "ada: ada requested this run, and may not approve it (four eyes)",
        "grace: approved",
        "the run is success: apple 3, pear 4",
    ],
    "01_hello.py": [
        "report  <- orders, total",
        "first run:  success ['orders', 'total', 'report']",
        "the value:  2 orders, 17.50 in all",
        "second run: success reused ['orders', 'total', 'report']",
        "because:    code unchanged",
    ],
    "02_partitions.py": [
        "2025-03-01 101 first day",
        "2025-03-02 102 +1",
        "2025-03-07 107 +5",
        "stored: ['d:2025-03-07', 'd:2025-03-02', 'd:2025-03-01']",
        "refused: 2024-12-31 is before the first day, 2025-01-01",
        "refused: 2999-01-01 is in the future",
    ],
    "03_sources_and_reuse.py": [
        "nothing changed        computed [], reused ['prices', 'rates', 'cheapest', 'label']",
        "other prices           computed ['prices', 'cheapest'], reused ['rates', 'label']",
        "other rates            computed ['rates', 'label'], reused ['prices', 'cheapest']",
        "by hand                computed ['cheapest'], reused []",
        "tea (week 11)",
    ],
    "04_retries_and_errors.py": [
        "run:      partial",
        "failed:   [('contract', 'GiveUp', 'the supplier is gone; password=[redacted]')]",
        "skipped:  [('invoice', 'upstream_failed', 'upstream contract failed')]",
        "overview: {'stock': 12, 'delivery': 'unloaded', 'contract': None}",
        "error:    stock attempt 1: TimeoutError: the warehouse did not answer (cured by attempt 2)",
        "error:    contract attempt 1: GiveUp: the supplier is gone; password=[redacted] (not cured)",
    ],
    "05_events_of_your_own.py": [
        "run:      success",
        "heard:    [3]",
        "recorded: ['acme.order.rejected', 'acme.upload.start', 'acme.upload.stop']",
        "handler:  acme.dashboard: 1 calls, 1 failed, quarantined: True",
    ],
    "06_testing_your_assets.py": [
        "passed: an asset is a function",
        "passed: what it says",
        "passed: the pipeline retries for three hours",
    ],
    "10_executors.py": [
        "threads: success ['pages', ",
        "crashes_once: second child, second chance",
        "hangs, attempt 1: timeout",
        "crashes_once, attempt 1: worker_lost, cured",
    ],
    "11_metrics.py": [
        "counter flowstone_materialization_total orders success  2.0",
        "counter acme_orders_rejected_total sold_out 2.0",
        "counter acme_pieces_rejected_total 6.0",
        "histogram acme_upload_seconds eu [2, 0, 0, 0]",
        "metric 'acme_orders_total': run_id cannot be a label",
    ],
    "12_tracing.py": [
        "nightly job",
        "  RUN shop",
        "    orders",
        "      acme.upload",
        "        PUT",
        "    total TimeoutError (from orders)",
        "      load orders",
    ],
    "07_lineage_and_explain.py": [
        "headline v2  <- average v2",
        "average v2   <- prices v2",
        "state:   up to date (version 2 of 2)",
        "after invalidating prices: [('prices', 'missing'), ('average', 'outdated'), ('headline', 'outdated')]",
        ", 0 failed",
    ],
    "08_resources.py": [
        "connect to warehouse.local\ndisconnect from warehouse.local\nconnect to warehouse.local\nbegin\nend\n",
        "2 orders, session on warehouse.local\ndisconnect from warehouse.local\n",
        "in a test: 2 orders, session on nowhere",
    ],
    "09_streaming.py": [
        "['page 0', 'page 1', 'page 2'] {'rows': 499950, 'most': 9999}",
        "first piece: (65536, 2)",
        "export: export.parquet external",
    ],
}


def test_every_example_is_listed_here():
    """No example is left out of these tests, and each is short enough to be read at once."""
    found = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}

    assert sorted(found) == sorted(SHOWS)
    assert {name: length for name, length in found.items() if length >= LONGEST} == {}


@pytest.mark.parametrize("name", SHOWS)
def test_the_example_shows_what_it_says(name, tmp_path):
    """Run from an empty folder, with warnings as errors, it ends well, prints its key lines and leaves nothing behind."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in SHOWS[name] if line not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []
