"""Proofs for outsiders: the tree over the entries' hashes, signed notes of it, and bundles that verify offline."""
