"""What other systems say happened: read, queued once each, and chained by the one writer like every event."""
