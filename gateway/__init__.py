"""The one door: it authenticates, routes and forwards; what somebody may do is decided by the services."""
