"""The whole fleet, used as its people use it."""
