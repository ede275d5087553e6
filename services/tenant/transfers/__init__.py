"""Requests of partners to take over a tenant."""
