"""One thread for each process that computes: the cores are busy with other tests already.

Waiting threads of OpenMP spin, so that two processes of two threads each on two cores take longer
than two of one. Read when NumPy and torch are loaded, and by programs that tests start.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
