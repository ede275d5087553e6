"""Backup and restore of a deployment: MongoDB, JetStream and keys. Read `docs/backup.md` first."""
