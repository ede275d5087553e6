"""What stops the local fleet, each as one line that ends in its remedy."""


class Obstacle(Exception):
    """Something on this machine is in the way: a port, a binary, a folder. Exit code 2, nothing left running.

    `reason` says what is wrong, `remedy` what to do about it; both are one sentence without a full stop.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}. {remedy}.")


class StartFailed(Exception):
    """A child process ended, or never became ready, while it was being started."""
