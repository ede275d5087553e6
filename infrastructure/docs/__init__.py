"""Documents made from the code: example environment, events, API. A test refuses them when they are stale."""
