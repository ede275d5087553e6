"""Makes Authentik, Stalwart and OCIS hold what a tenant says, and says how far they do."""
