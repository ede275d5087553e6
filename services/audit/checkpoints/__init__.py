"""Checkpoints: what the log was, signed, chained, and copied to where MongoDB's writer cannot change it."""
