"""What the identity provider still has to be told, and the worker that tells it."""
