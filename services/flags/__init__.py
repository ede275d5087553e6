"""Feature flags: definitions, evaluation, kill-switch."""
