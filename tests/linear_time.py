"""Whether something takes time in proportion to its input."""

import gc
from collections.abc import Callable
from time import process_time

from hypothesis import Phase

ATTEMPTS = 12
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Of hypothesis: a smaller example takes less time, but minutes to find."""
FACTOR = 2.5
"""Of twice the input: 2 if the time is linear, 4 if it is quadratic."""
SLOW_S = 0.5
"""Too much for noise: the first run decides."""
NEGLIGIBLE_S = 0.001
"""A difference that the clock, and fixed work for any input, may cause."""


def is_linear(run: Callable[[int], object], size: int) -> bool:
    """Return whether `run(2 * size)` takes about twice the CPU time of `run(size)`: the least of several runs of each.

    Other programs and garbage collection only make some runs slower.
    """
    least_s = [float("inf"), float("inf")]
    for _ in range(ATTEMPTS):
        for index, each in enumerate((size, 2 * size)):
            gc.disable()
            began_s = process_time()
            run(each)
            least_s[index] = min(least_s[index], process_time() - began_s)
            gc.enable()
        if least_s[1] <= FACTOR * least_s[0] + NEGLIGIBLE_S:
            return True
        if least_s[1] > SLOW_S:
            break
    return False
