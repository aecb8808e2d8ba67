"""What reading a command line comes to: the work to do, which begins when all of the line has been understood."""

from collections.abc import Callable

Work = Callable[[], bool]
"""Does what was asked; False where the answer is "no": unhealthy, damaged, not a row. Raises `ParqueDBError`."""
