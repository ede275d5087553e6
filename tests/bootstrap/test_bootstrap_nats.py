"""NATS, made ready by the job: read independently, through the client's own model of JetStream."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import nats as client
import pytest
from nats.aio.client import Client

from infrastructure.bootstrap.parts import nats
from infrastructure.bootstrap.reports import ByHand, NotReady
from infrastructure.bootstrap.settings import BootstrapSettings
from infrastructure.local.servers import NatsServer
from shared.topology import Topology
from tests.bootstrap.running import is_settled, outcomes, steps
from tests.support.servers import free_port, nats_url


class Part:
    """The part under a prefix of its own, and an administrator's look at what it made."""

    def __init__(self, server: NatsServer, admin: Client) -> None:
        self.prefix = f"b{secrets.token_hex(6)}"
        self.topology = Topology(self.prefix)
        self.admin = admin
        self.settings = BootstrapSettings.model_validate(
            {
                "BOOTSTRAP_NATS_URL": nats_url(server, "admin"),
                "BOOTSTRAP_NATS_MONITOR": f"http://127.0.0.1:{server.monitor_port}",
                "NATS_PREFIX": self.prefix,
                "BOOTSTRAP_WAIT_SECONDS": "10",
            }
        )

    async def run(self, stop_after: int | None = None) -> list[Any]:
        return await steps(nats(self.settings), stop_after)

    async def end_state(self) -> dict[str, Any]:
        """The configuration of every stream and consumer of the prefix, as the server tells it."""
        seen: dict[str, Any] = {}
        for stream in await self.admin.jetstream().streams_info():
            name = stream.config.name or ""
            if self.prefix in name:
                seen[name] = (await self.ask(f"STREAM.INFO.{name}"))["config"]
                listed = await self.ask(f"CONSUMER.LIST.{name}")
                seen |= {consumer["name"]: consumer["config"] for consumer in listed["consumers"]}
        return seen

    async def ask(self, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        reply = await self.admin.request(f"$JS.API.{call}", json.dumps(body or {}).encode(), timeout=5)
        answer: dict[str, Any] = json.loads(reply.data)
        assert "error" not in answer, answer
        return answer


@pytest.fixture
async def part(nats_server: NatsServer) -> AsyncIterator[Part]:
    admin = await client.connect(nats_url(nats_server, "admin"))
    made = Part(nats_server, admin)
    yield made
    for name in [name for name in await made.end_state() if "EVENTS" in name or "DEAD" in name or "KV_" in name]:
        await admin.jetstream().delete_stream(name)
    await admin.close()


async def test_a_run_that_dies_after_any_step_is_completed_by_the_next_and_another_changes_nothing(part: Part) -> None:
    things = part.topology.stream_configs() + part.topology.bucket_configs() + part.topology.consumer_configs()
    count = 1 + len(things)
    for number in range(2, count + 1):
        assert outcomes(await part.run(stop_after=number)) == ["ok"] * (number - 1) + ["made"]
    seen = await part.end_state()
    names = [thing["name"] if "name" in thing else thing["config"]["name"] for thing in things]
    assert seen.keys() == set(names)
    done = await part.run()
    assert is_settled(done)
    assert len(done) == count
    assert await part.end_state() == seen


async def test_what_drifted_is_mended_and_messages_stay(part: Part) -> None:
    await part.run()
    seen = await part.end_state()
    events, chain = part.topology.stream_events, part.topology.durable("audit-chain")
    acknowledged = await part.admin.jetstream().publish(part.topology.subject("tenant.created.v1"), b"{}")
    await part.ask(f"CONSUMER.DELETE.{events}.{part.topology.durable('flags-tenants')}")
    await part.ask(f"STREAM.UPDATE.{events}", seen[events] | {"max_age": 3_600_000_000_000, "discard": "old"})
    config = seen[chain] | {"filter_subjects": [part.topology.subject("tenant.>")], "max_ack_pending": 1}
    await part.ask(f"CONSUMER.DURABLE.CREATE.{events}.{chain}", {"stream_name": events, "config": config})
    done = {report.step: report.outcome for report in await part.run() if report.outcome != "ok"}
    assert done == {
        f"stream {events}": "mended",
        f"consumer {chain}": "mended",
        f"consumer {part.topology.durable('flags-tenants')}": "made",
    }
    assert await part.end_state() == seen
    assert (await part.admin.jetstream().get_msg(events, acknowledged.seq)).data == b"{}"


async def test_what_cannot_be_changed_is_named_with_its_remedy(part: Part) -> None:
    dead = part.topology.stream_dead
    wanted = next(config for config in part.topology.stream_configs() if config["name"] == dead)
    await part.ask(f"STREAM.CREATE.{dead}", wanted | {"storage": "memory"})
    with pytest.raises(ByHand, match=rf"JetStream refuses STREAM.UPDATE.{dead}.*drain and delete that stream"):
        await part.run()


async def test_a_server_that_does_not_come_is_given_up_at_the_deadline_without_its_password() -> None:
    environment = {
        "BOOTSTRAP_NATS_URL": f"nats://admin:s3cret@127.0.0.1:{free_port()}",
        "BOOTSTRAP_WAIT_SECONDS": "0.3",
    }
    with pytest.raises(NotReady, match="NATS lets nobody in") as late:
        await steps(nats(BootstrapSettings.model_validate(environment)))
    assert "s3cret" not in str(late.value)
