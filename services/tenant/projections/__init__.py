"""What the tenant service knows of partners and of the catalog."""
