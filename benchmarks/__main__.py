"""``python -m benchmarks [NAME ...]``: run the named cases, or all."""

import sys

from benchmarks.cases import CASES

wanted = sys.argv[1:] or list(CASES)
unknown = [name for name in wanted if name not in CASES]
if unknown:
    sys.exit(f"unknown case {unknown[0]!r}; known: {', '.join(CASES)}")
for name in wanted:
    CASES[name]()
