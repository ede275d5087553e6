"""Partners, their contracts, and what they know of their customers."""
