"""Cold storage: old entries in object-locked batches, each under a signed manifest, still listed and still verified."""
