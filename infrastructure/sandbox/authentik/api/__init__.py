"""The administration API under `/api/v3/`: JSON in and out, a trailing slash on every path.

gate    bearer token, JSON body, errors, one transaction per write
fields  members of request bodies, and what is said of wrong ones
lists   filters, search, order and pages
users, groups, tokens, events, flows (with brands): one resource each
apps, providers, mappings, crypto, bindings, roles: likewise, for sign-in and rights
"""
