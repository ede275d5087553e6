"""Tenants, people and provisioning."""
