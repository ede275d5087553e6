"""Makes an empty or half-made deployment ready: `python -m infrastructure.bootstrap`; safe to run at any time.

    cli              arguments, the order of the parts, exit codes
    settings         the environment
    reports          what a step says, and what stops a part

    replica_set      MongoDB: the replica set and its root user
    database_access  MongoDB: roles and users of the services
    streams          NATS: streams, buckets, consumers
    nats_monitor     NATS: what the server says of itself
    object_store     S3: buckets with Object Lock
    authentik        applications, rights, API tokens, the first operator

The local runner uses the first three of these as they are.
"""
