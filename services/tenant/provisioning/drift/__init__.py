"""What somebody changed by hand in an integration: found, named, and repaired or, where accepted, listed."""
