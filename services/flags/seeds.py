"""The flags that this platform comes with. Each is created once, off, and never put over an operator's edit."""

from __future__ import annotations

SEEDS: dict[str, str] = {
    "jmap_native_v2": "Manage mail through the second version of the JMAP integration",
    "gdpr_export_v2": "Offer the second version of the export of a person's data",
    "new_billing_engine": "Let money move: bill this tenant through Stripe",
    "oci_versioning": "Keep versions of files in the tenant's space",
    "invite_recovery_links": "Hand invited people a recovery link instead of a temporary password",
    "strict_drift_repair": "Repair drift in the backends at once instead of at the next scheduled resync",
    "collabora_co_editing": "Let several people edit one document at a time",
    "partner_transfer": "Let another partner open a transfer of this tenant",
    "tenant_self_seats": "Let the tenant's own administrators buy seats",
    "usage_reports": "Show usage of mail and files in the tenant's overview",
}
