"""A stand-in for ownCloud Infinite Scale: the libre graph API, sign-in by OpenID Connect, audit lines.

The house, from the door inwards:

    __main__    arguments, then `app.build` and serve
    app         the one place where the parts are put together
    seed        what the seed file holds
    gate        who calls, and the shape of every refusal
    signin      bearer tokens of the identity provider, verified by its key set
    provisioning  users that their first sign-in creates
    bodies      strict JSON
    users       /graph/v1.0/users and /graph/v1.0/me
    groups      /graph/v1.0/groups and their members
    drives      /graph/v1.0/drives: project spaces
    members     /graph/v1beta1/drives/{id}/root/invite and permissions
    roles       the roles that a space knows
    filters     the few $filter expressions that are understood
    directory   users, groups and memberships
    spaces      drives and what is granted on them
    health      /status.php and /healthz
    audit       JSON lines of what happened
    store       the SQLite file and its tables

Administrators are the bearers of the seed's tokens; everybody else has the role `user`, and sees only the drives of
which they are a member: another drive is 404, as one that does not exist.
"""
