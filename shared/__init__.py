"""What every process of the fleet uses, and nothing of any one domain."""
