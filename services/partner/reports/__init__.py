"""Reports about a partner's customers, from the projection."""
