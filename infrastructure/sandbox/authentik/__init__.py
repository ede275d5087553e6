"""A stand-in for Authentik 2026.8.

The house, from the door inwards:

    __main__     arguments, then `app.build` and serve
    app          the one place where the parts are put together
    seed         what the seed file holds, and its one-time transfer into the store
    health       /-/health/live/ and /-/health/ready/
    oidc         HTTP of discovery, JWKS and the token endpoint
    grants       who is given a token
    tokens       claims and signatures
    errors       OAuth errors as Authentik writes them
    directory    users, groups, memberships, app passwords
    applications applications, each with its OAuth2 provider
    store        the SQLite file and its tables
    passwords    hashes of the passwords of the login page
    keys         the signing key and the instance secret

Every path ends in a slash, as in the original; without it there is 404.
"""
