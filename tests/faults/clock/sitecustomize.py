"""Sets a Python process's wall clock off by `FAULTS_CLOCK_S` seconds; Python imports it by its name when it starts.

Owns `time.time`. The monotonic clock stays right, as on a machine whose wall clock is wrong.
"""

import os
import time

OFF_S = float(os.environ.get("FAULTS_CLOCK_S", "0"))
if OFF_S:
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + OFF_S
    time.time_ns = lambda: _time_ns() + int(OFF_S * 1e9)
