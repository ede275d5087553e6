"""The signed statement that nothing of a deleted tenant is left in any backend."""
