"""Catalog, subscriptions, recurring revenue."""
