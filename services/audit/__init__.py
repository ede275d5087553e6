"""The audit service: every event of the platform in one chained, append-only log."""
