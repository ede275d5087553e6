"""Health of the platform: probes of everything it stands on."""
