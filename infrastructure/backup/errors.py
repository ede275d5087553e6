"""What stops a backup or a restore, as one line that ends in its remedy."""


class Refused(Exception):
    """Nothing was done, or it was not finished. `reason` says why, `remedy` what to do; one sentence each, no stop."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}. {remedy}.")
