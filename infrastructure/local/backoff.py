"""How long to wait before a process that died is started again."""

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 30.0
STEADY_SECONDS = 60.0


class Backoff:
    """Doubles from 0.2 s to 30 s, and begins anew for a process that had run for a minute."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def after_run_of(self, seconds: float) -> float:
        """The pause after a run that lasted `seconds`."""
        if seconds >= STEADY_SECONDS:
            self._next = FIRST_SECONDS
        pause, self._next = self._next, min(self._next * 2, LONGEST_SECONDS)
        return pause
