"""The five dashboards: fleet, gateway, events, audit, billing. Thresholds are those of the alerts."""

from __future__ import annotations

import json
from pathlib import Path

from infrastructure.docs.discovery import ROOT
from infrastructure.grafana.model import Dashboard, Panel, Query

FOLDER = ROOT / "infrastructure" / "grafana" / "dashboards"

FLEET = Dashboard(
    "fleet",
    "Dezky: fleet",
    [
        [
            Panel("Processes that answer", [Query("sum(up)")], kind="stat"),
            Panel("Alerts that fire", [Query('sum(ALERTS{alertstate="firing"}) or vector(0)')], kind="stat", bad=1),
            Panel("Probes that see an outage", [Query("sum(1 - min by (probe) (dezky_probe_ok))")], kind="stat", bad=1),
            Panel("Connections to NATS", [Query("sum(dezky_nats_connected)")], kind="stat"),
        ],
        [
            Panel("Requests", [Query("service:dezky_http_requests:rate5m", "{{service}}")], "reqps"),
            Panel("Errors", [Query("service:dezky_http_errors:ratio_rate5m", "{{service}}")], "percentunit", bad=0.05),
            Panel("99 % are faster than", [Query("service:dezky_http_request_seconds:p99_rate5m", "{{service}}")], "s"),
        ],
        [
            Panel(
                "MongoDB: connections in use, of those there may be",
                [
                    Query(
                        "max by (client) (dezky_mongo_connections_in_use / dezky_mongo_connections_limit)", "{{client}}"
                    )
                ],
                "percentunit",
                bad=0.9,
            ),
            Panel(
                "MongoDB: wait for a connection, 99 %",
                [
                    Query(
                        "histogram_quantile(0.99, sum by (client, le) (rate(dezky_mongo_checkout_seconds_bucket[5m])))",
                        "{{client}}",
                    )
                ],
                "s",
            ),
            Panel("MongoDB: open connections", [Query("sum by (client) (dezky_mongo_connections_open)", "{{client}}")]),
        ],
        [
            Panel("CPU", [Query("sum by (job) (rate(process_cpu_seconds_total[5m]))", "{{job}}")], "percentunit"),
            Panel("Memory", [Query("sum by (job) (process_resident_memory_bytes)", "{{job}}")], "bytes"),
            Panel("Open files", [Query("max by (job) (process_open_fds / process_max_fds)", "{{job}}")], "percentunit"),
        ],
        [
            Panel(
                "Workers that failed",
                [
                    Query(
                        "sum by (service, worker) (increase(dezky_worker_failures_total[15m])) > 0",
                        "{{service}} {{worker}}",
                    )
                ],
                bad=3,
            ),
            Panel(
                "Looks that saw nothing",
                [
                    Query(
                        "sum by (service, measure) (increase(dezky_measurement_failures_total[10m])) > 0",
                        "{{service}} {{measure}}",
                    )
                ],
                bad=5,
            ),
            Panel("Probes: time to answer", [Query("max by (probe) (dezky_probe_seconds)", "{{probe}}")], "s", bad=1.5),
        ],
        [
            Panel(
                "Leases held",
                [Query("sum by (database, lease) (dezky_lease_held)", "{{database}} {{lease}}")],
                about="One each; 0 for longer than a lease lasts (10 s) means that nobody does this work.",
            ),
            Panel(
                "Told to the identity provider",
                [Query("sum by (kind, result) (rate(dezky_people_tasks_total[5m]))", "{{kind}} {{result}}")],
                "ops",
            ),
            Panel(
                "Waiting for the identity provider",
                [Query("max by (kind) (dezky_people_tasks_oldest_seconds)", "{{kind}}")],
                "s",
                bad=900,
            ),
        ],
        [
            Panel(
                "Provisioning: tenants that do not agree",
                [Query("max(dezky_provisioning_failing_tenants)", "tenants")],
                bad=1,
            ),
            Panel(
                "Provisioning: comparisons",
                [
                    Query(
                        "sum by (integration, status) (rate(dezky_provisioning_total[5m]))",
                        "{{integration}} {{status}}",
                    )
                ],
                "ops",
            ),
            Panel(
                "Projections: rows that differ",
                [Query("max by (service, projection) (dezky_projection_differences)", "{{service}} {{projection}}")],
                bad=1,
            ),
        ],
    ],
)

GATEWAY = Dashboard(
    "gateway",
    "Dezky: gateway",
    [
        [
            Panel("Availability, 3 days", [Query("1 - dezky:gateway_errors:ratio_rate3d")], "percentunit", kind="stat"),
            Panel(
                "Within half a second, 3 days",
                [Query("1 - dezky:gateway_slow:ratio_rate3d")],
                "percentunit",
                kind="stat",
            ),
            Panel("Requests", [Query("sum(route:dezky_gateway_requests:rate5m)")], "reqps", kind="stat"),
        ],
        [
            Panel(
                "How fast the budget of errors burns",
                [Query(f"dezky:gateway_errors:ratio_rate{w} / 0.001", w) for w in ("5m", "30m", "1h", "6h", "3d")],
                bad=14.4,
                about="1 uses up the month's budget in a month; 14.4 over an hour is a page.",
            ),
            Panel(
                "How fast the budget of latency burns",
                [Query(f"dezky:gateway_slow:ratio_rate{w} / 0.01", w) for w in ("5m", "30m", "1h", "6h", "3d")],
                bad=14.4,
            ),
        ],
        [
            Panel("Requests", [Query("route:dezky_gateway_requests:rate5m", "{{route}}")], "reqps"),
            Panel(
                "Answers", [Query("sum by (status) (rate(dezky_gateway_requests_total[5m]))", "{{status}}")], "reqps"
            ),
            Panel("99 % are faster than", [Query("route:dezky_gateway_request_seconds:p99_rate5m", "{{route}}")], "s"),
        ],
        [
            Panel(
                "Connections to services",
                [Query("sum by (service, state) (dezky_gateway_upstream_connections)", "{{service}} {{state}}")],
                about="Calls that wait for a connection are what a slow service looks like from here.",
            ),
            Panel(
                "Messages refused before they were requests",
                [Query("sum by (code) (rate(dezky_gateway_messages_refused_total[5m]))", "{{code}}")],
                "ops",
            ),
            Panel(
                "Issuers' keys: fetches that failed",
                [
                    Query(
                        'sum by (issuer) (increase(dezky_gateway_jwks_fetches_total{outcome="failed"}[10m]))',
                        "{{issuer}}",
                    )
                ],
                bad=3,
            ),
            Panel(
                "Issuers' keys: age",
                [Query("time() - min by (issuer) (dezky_gateway_jwks_fetched_timestamp_seconds)", "{{issuer}}")],
                "s",
            ),
        ],
    ],
)

EVENTS = Dashboard(
    "events",
    "Dezky: events",
    [
        [
            Panel("Outboxes: waiting", [Query("sum(max by (source) (dezky_outbox_pending))")], kind="stat", bad=1_000),
            Panel("Outboxes: oldest", [Query("max(dezky_outbox_oldest_seconds)")], "s", kind="stat", bad=300),
            Panel(
                "Dead letters",
                [Query('max(dezky_stream_messages{stream="DEAD_LETTERS"})')],
                kind="stat",
                bad=1,
            ),
            Panel("Consumers: furthest behind", [Query("max(consumer:dezky_backlog:max)")], kind="stat", bad=1_000),
        ],
        [
            Panel("Outbox: waiting", [Query("max by (source) (dezky_outbox_pending)", "{{source}}")]),
            Panel(
                "Outbox: oldest", [Query("max by (source) (dezky_outbox_oldest_seconds)", "{{source}}")], "s", bad=300
            ),
            Panel(
                "Published", [Query("sum by (source) (rate(dezky_outbox_published_total[5m]))", "{{source}}")], "ops"
            ),
        ],
        [
            Panel(
                "From an event's time to its acknowledgement, 99 %",
                [
                    Query(
                        "histogram_quantile(0.99, sum by (source, le) (rate(dezky_outbox_delay_seconds_bucket[5m])))",
                        "{{source}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Rounds of the relay that did not publish",
                [
                    Query(
                        "sum by (source, reason) (rate(dezky_outbox_relay_failures_total[5m]))", "{{source}} {{reason}}"
                    )
                ],
                "ops",
            ),
            Panel(
                "Connections to NATS lost",
                [Query("sum by (process) (increase(dezky_nats_disconnections_total[5m]))", "{{process}}")],
            ),
        ],
        [
            Panel("Consumers: behind", [Query("consumer:dezky_backlog:max", "{{consumer}}")], bad=1_000),
            Panel(
                "Handled", [Query("sum by (consumer) (rate(dezky_events_handled_total[5m]))", "{{consumer}}")], "ops"
            ),
            Panel(
                "Failed and buried",
                [
                    Query("sum by (consumer) (rate(dezky_events_failed_total[5m]))", "{{consumer}} failed"),
                    Query("sum by (consumer) (rate(dezky_events_buried_total[5m]))", "{{consumer}} buried"),
                    Query("sum by (consumer) (rate(dezky_consumer_errors_total[5m]))", "{{consumer}} rounds"),
                ],
                "ops",
            ),
        ],
        [
            Panel(
                "Streams: full",
                [Query("max by (stream) (dezky_stream_bytes / (dezky_stream_limit_bytes > 0))", "{{stream}}")],
                "percentunit",
                bad=0.8,
            ),
            Panel("Streams: messages", [Query("max by (stream) (dezky_stream_messages)", "{{stream}}")]),
        ],
    ],
)

AUDIT = Dashboard(
    "audit",
    "Dezky: audit",
    [
        [
            Panel("Newest entry", [Query("max(dezky_audit_head_seq)")], kind="stat"),
            Panel("Blocked", [Query("max(dezky_audit_chain_blocked)")], "bool", kind="stat", bad=1),
            Panel("Checkpoint refused", [Query("max(dezky_audit_checkpoint_refused)")], "bool", kind="stat", bad=1),
            Panel("Witness differs", [Query("max(dezky_audit_witness_differs)")], "bool", kind="stat", bad=1),
            Panel("Missing events", [Query("sum(max by (source) (dezky_audit_source_missing))")], kind="stat", bad=1),
            Panel(
                "Last run of the archiver",
                [Query("1000 * max(dezky_audit_archive_run_timestamp_seconds > 0)")],
                "dateTimeFromNow",
                kind="stat",
            ),
        ],
        [
            Panel("Entries", [Query("sum(rate(dezky_audit_entries_total[5m]))", "chained")], "ops"),
            Panel(
                "From an event's time to its entry's commit",
                [
                    Query(f"histogram_quantile({q}, sum by (le) (rate(dezky_audit_delay_seconds_bucket[5m])))", f"{q}")
                    for q in (0.5, 0.99)
                ],
                "s",
            ),
            Panel(
                "Duplicates and raw bytes",
                [
                    Query("sum(rate(dezky_audit_duplicates_total[5m]))", "duplicates"),
                    Query("sum by (reason) (rate(dezky_audit_unparsed_total[5m]))", "{{reason}}"),
                ],
                "ops",
            ),
        ],
        [
            Panel(
                "Entries without a checkpoint",
                [Query("max(dezky_audit_head_seq) - max(dezky_audit_signed_seq)", "entries")],
            ),
            Panel("Oldest of them", [Query("max(dezky_audit_unsigned_seconds)", "age")], "s", bad=900),
            Panel(
                "Age of the newest checkpoint",
                [Query("time() - max(dezky_audit_checkpoint_timestamp_seconds > 0)", "age")],
                "s",
            ),
            Panel(
                "Checkpoints", [Query("sum by (reason) (increase(dezky_audit_checkpoints_total[1h]))", "{{reason}}")]
            ),
        ],
        [
            Panel("Entries without a witness", [Query("max(dezky_audit_unwitnessed_entries)", "entries")]),
            Panel("The witness's newest", [Query("max(dezky_audit_unwitnessed_seconds)", "age")], "s", bad=1_800),
            Panel(
                "Archiver",
                [
                    Query("sum(increase(dezky_audit_archived_entries_total[1h]))", "entries moved"),
                    Query("sum by (reason) (increase(dezky_audit_archive_failures_total[1h]))", "failed: {{reason}}"),
                ],
            ),
        ],
        [
            Panel("Sources: behind", [Query("max by (source) (dezky_audit_source_lag_seconds)", "{{source}}")], "s"),
            Panel("Sources: waiting", [Query("max by (source) (dezky_audit_ingest_waiting)", "{{source}}")]),
            Panel(
                "Sources: taken in",
                [
                    Query("sum by (source) (rate(dezky_audit_ingest_received_total[5m]))", "{{source}}"),
                    Query("sum by (source) (rate(dezky_audit_ingest_failures_total[5m]))", "{{source}} failed"),
                    Query("sum by (source) (rate(dezky_audit_ingest_forged_total[5m]))", "{{source}} forged"),
                ],
                "ops",
            ),
        ],
    ],
)

BILLING = Dashboard(
    "billing",
    "Dezky: billing",
    [
        [
            Panel("Live subscriptions", [Query("sum(max by (currency) (dezky_billing_subscriptions))")], kind="stat"),
            Panel("Seats", [Query("sum(max by (currency) (dezky_billing_seats))")], kind="stat"),
            Panel("Prices that are being followed", [Query("max(dezky_billing_repricings_open)")], kind="stat", bad=1),
        ],
        [
            Panel(
                "Annual recurring revenue",
                [Query("max by (currency) (dezky_billing_arr_minor_units)", "{{currency}}")],
                about="In the minor unit of each currency (cents).",
            ),
            Panel("Subscriptions", [Query("max by (currency) (dezky_billing_subscriptions)", "{{currency}}")]),
            Panel("Seats", [Query("max by (currency) (dezky_billing_seats)", "{{currency}}")]),
        ],
        [
            Panel(
                "Requests",
                [
                    Query(
                        'sum by (route, status) (rate(dezky_http_requests_total{service="billing"}[5m]))',
                        "{{route}} {{status}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Events of tenants: handled",
                [Query('sum(rate(dezky_events_handled_total{consumer="billing-tenants"}[5m]))', "handled")],
                "ops",
            ),
            Panel(
                "Events of tenants: waiting",
                [Query('consumer:dezky_backlog:max{consumer="billing-tenants"}', "waiting")],
                bad=1_000,
            ),
        ],
    ],
)

DASHBOARDS = (FLEET, GATEWAY, EVENTS, AUDIT, BILLING)


def render() -> dict[Path, str]:
    """Every dashboard as JSON, by its file."""
    return {
        FOLDER / f"{dashboard.name}.json": json.dumps(dashboard.document(), indent=2) + "\n" for dashboard in DASHBOARDS
    }
