"""A stand-in for Stalwart 0.16: management by JMAP, mail sign-in, webhooks.

The house, from the door inwards:

    __main__     arguments, then `app.build` and serve
    app          the one place where the parts are put together
    seed         what the seed file holds
    jmap         HTTP of POST /jmap: the envelope, its limits, references between calls
    session      GET /jmap/session, which is also the sign-in check of mail
    health       /healthz/live and /healthz/ready
    mailroom     /_sandbox/mail and /_sandbox/submission: mail that arrives or is sent, without SMTP
    callers      who calls, and what it may do
    permissions  roles, permissions and what remains of them
    limits       requests per minute, requests at once
    registry     x:<Object>/get, set and query, the same for every object
    kinds        the objects: shape, keys, filters, checks of their own
    accounts     checks of accounts: addresses, credentials
    shapes       what a property may hold, and how JMAP writes it
    patches      JSON pointers of an update
    references   `#id` and `#ids`: creations and results that later calls name
    passwords    hashes and strength
    destruction  the task that removes the mail of a destroyed account
    webhooks     signed batches of events
    objects      the SQLite file and its tables
    errors       errors of a request, of a method and of one object

Where it knowingly differs: the original refuses names under reserved top-level domains such as `.example`, which are
all that a sandbox has; DKIM, DNS and certificates can only be managed by hand; roles are User and Admin.
"""
