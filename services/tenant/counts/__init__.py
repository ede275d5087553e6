"""How many tenants have each status."""
