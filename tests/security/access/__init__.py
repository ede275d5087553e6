"""The access table of docs/access.md, held against the running platform."""
