"""Stand-ins for the outside systems, so that the fleet runs on one machine with nothing to install.

Each is a process of its own that speaks the published wire format of the system whose place it takes. It
imports nothing of the product, keeps its state on disk, listens on loopback only and fails on demand (`kit`).
"""
