"""How customers stand: what the projections say of each together, in the form in which reports read it."""
