"""Forgetting a person: the record, what else held something of them, and their account."""
