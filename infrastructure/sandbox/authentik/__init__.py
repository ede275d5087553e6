"""A stand-in for Authentik 2026.8.

The house, from the door inwards:

    __main__      arguments, then `app.build` and serve
    app           the one place where the parts are put together
    seed          what the seed file holds, and its one-time transfer into the store
    install       what a fresh install has by itself
    health        /-/health/live/ and /-/health/ready/
    api           the administration API, /api/v3/

    login         authorization endpoint, login page, page of a recovery link
    logout        end-session
    oidc          discovery, JWKS and the token endpoint
    introspection userinfo, introspection, revocation
    authorization the authorization request, parsed
    codes         authorization codes and PKCE
    grants        who is given a token
    granted       what was granted
    tokens        claims and signatures
    issued        tokens that were given out
    sessions      sessions of the login page, and what ends with them
    notices       back-channel logout
    recovery      one-time links for a new password
    pages         HTML
    forms         form bodies and client credentials
    errors        OAuth errors as Authentik writes them

    directory     users, groups, memberships, app passwords
    applications  applications, each with its OAuth2 provider, and whom they admit
    permissions   roles and what they allow
    api_tokens    tokens for the API, app passwords
    certificates  the key pair that signs, as the API shows it
    journal       the event log
    store         the SQLite file and its tables
    passwords     hashes of the passwords of the login page
    one_time      secrets that are kept as digests
    moments       times as text
    keys          the signing key and the instance secret

Every path ends in a slash, as in the original; without it there is 404.
"""
