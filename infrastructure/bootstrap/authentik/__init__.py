"""Authentik: what a fresh install lacks before the platform can use it.

api           the administration API
applications  OIDC applications with their providers, and whom they admit
rights        roles, service accounts and their API tokens
operator      the first person
"""

from collections.abc import AsyncIterator

import httpx

from infrastructure.bootstrap.authentik import rights
from infrastructure.bootstrap.authentik.api import Authentik
from infrastructure.bootstrap.authentik.applications import Foundations, of_settings, settle_application
from infrastructure.bootstrap.authentik.operator import FirstOperator
from infrastructure.bootstrap.reports import Outcome, Report
from infrastructure.bootstrap.settings import BootstrapSettings

PLATFORM_ADMINS = "dezky-platform-admins"
SUITE_GROUP = "dezky-suite"
"""The groups that the gateway and the tenant service know by these names."""


async def settle(
    settings: BootstrapSettings, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Report]:
    """Make groups, applications, service accounts and the first operator be as they must, and report each.

    `transport` is that of `api.Authentik`.

    Raises:
        NotReady: Authentik does not come in time. ByHand: it refuses something, or lacks what a fresh install has.
        httpx.HTTPError: it stopped answering.
    """
    admin = settings.authentik_token.get_secret_value()
    async with Authentik(settings.authentik_url, admin, transport) as authentik:
        await authentik.wait(settings.wait_seconds)
        groups = {}
        for name in (PLATFORM_ADMINS, SUITE_GROUP):
            groups[name], report = await rights.settle_group(authentik, name)
            yield report
        foundations = await Foundations.found(authentik, settings.signing_key)
        yield Report("flows, signing key and scopes of the install", Outcome.OK)
        for application in of_settings(settings, PLATFORM_ADMINS, SUITE_GROUP):
            async for report in settle_application(authentik, foundations, application, groups):
                yield report
        if not settings.suite_redirect_uris:
            missing = f"application {settings.suite_client} (BOOTSTRAP_SUITE_REDIRECT_URIS is not set)"
            yield Report(missing, Outcome.SKIPPED)
        for account, token in ((rights.TENANT, settings.tenant_token), (rights.AUDIT, settings.audit_token)):
            async for report in rights.settle_account(authentik, account, token.get_secret_value()):
                yield report
        async for report in FirstOperator(authentik, settings, groups[PLATFORM_ADMINS]).settle():
            yield report
