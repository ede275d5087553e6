"""Reports that a partner defines and keeps, in a closed vocabulary."""
