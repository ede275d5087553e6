"""MongoDB with key file authentication, made ready by the job: read independently, as its administrator."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from infrastructure.bootstrap.database_access import ROLES, USERS
from infrastructure.bootstrap.parts import mongo
from infrastructure.bootstrap.reports import ByHand, NotReady, Report
from infrastructure.bootstrap.settings import BootstrapSettings
from infrastructure.local.servers import MongodServer
from infrastructure.local.servers.child import end, spawn
from infrastructure.local.servers.mongod import mongod_command, write_key_file
from tests.bootstrap.running import is_settled, outcomes, steps
from tests.support.servers import free_port
from tests.support.waiting import eventually

DATABASES = sorted({user.database for user in USERS})
Client = MongoClient[dict[str, Any]]


def settings(port: int, root_password: str, **changed: str) -> BootstrapSettings:
    environment = {
        "BOOTSTRAP_WAIT_SECONDS": "30",
        "BOOTSTRAP_MONGO_MEMBERS": f"127.0.0.1:{port}",
        "BOOTSTRAP_MONGO_ROOT_PASSWORD": root_password,
    }
    for user in USERS:
        address = f"127.0.0.1:{port}/{user.database}?authSource={user.database}"
        environment[f"{user.name.upper()}_MONGO_URI"] = f"mongodb://{user.name}:p%40ss-of-{user.name}@{address}"
    return BootstrapSettings.model_validate(environment | changed)


def end_state(root: Client) -> dict[str, Any]:
    """Users and roles with their privileges, and the members of the set, as MongoDB tells its administrator."""
    seen: dict[str, Any] = {"members": [m["host"] for m in root.admin.command("replSetGetConfig")["config"]["members"]]}
    for name in ("admin", *DATABASES):
        users = root[name].command("usersInfo")["users"]
        seen[f"users of {name}"] = {user["user"]: sorted((r["role"], r["db"]) for r in user["roles"]) for user in users}
        roles = root[name].command("rolesInfo", showPrivileges=True)["roles"]
        seen[f"roles of {name}"] = {role["role"]: (role["privileges"], role["roles"]) for role in roles}
    return seen


def empty(root: Client) -> None:
    for name in DATABASES:
        root[name].command("dropAllUsersFromDatabase")
        root[name].command("dropAllRolesFromDatabase")


@pytest.fixture
def shared(mongod: MongodServer) -> Iterator[tuple[Client, BootstrapSettings]]:
    """The session's server without users and roles of ours, and settings for it."""
    password = mongod.uri.partition("root:")[2].partition("@")[0]
    with Client(mongod.uri) as root:
        empty(root)
        yield root, settings(mongod.port, password)
        empty(root)


async def test_a_run_that_dies_after_any_step_is_completed_by_the_next_and_another_changes_nothing(
    shared: tuple[Client, BootstrapSettings],
) -> None:
    root, wanted = shared
    count = 2 + len(ROLES) + len(USERS)
    for number in range(3, count + 1):
        assert outcomes(await steps(mongo(wanted), stop_after=number)) == ["ok"] * (number - 1) + ["made"]
    seen = end_state(root)
    assert is_settled(await steps(mongo(wanted)))
    assert end_state(root) == seen
    empty(root)
    assert outcomes(await steps(mongo(wanted))) == ["ok", "ok"] + ["made"] * (count - 2)
    assert end_state(root) == seen


async def test_each_service_opens_its_own_database_with_the_password_of_its_uri_and_no_other(
    shared: tuple[Client, BootstrapSettings], mongod: MongodServer
) -> None:
    _, wanted = shared
    await steps(mongo(wanted))
    for user, elsewhere in (("billing", "tenant"), ("audit", "billing"), ("audit_archiver", "health")):
        with Client(getattr(wanted, f"{user}_mongo_uri").get_secret_value(), directConnection=True) as own:
            own[user.partition("_")[0]]["entries"].find_one()
            with pytest.raises(OperationFailure, match="not authorized"):
                own[elsewhere]["entries"].find_one()


async def test_what_drifted_is_mended(shared: tuple[Client, BootstrapSettings]) -> None:
    root, wanted = shared
    await steps(mongo(wanted))
    seen = end_state(root)
    root["audit"].command("grantRolesToRole", "audit_append", roles=["readWrite"])
    root["audit"].command(
        "grantPrivilegesToRole",
        "audit_archive",
        privileges=[{"resource": {"db": "audit", "collection": "checkpoints"}, "actions": ["remove"]}],
    )
    root["tenant"].command("grantRolesToUser", "tenant", roles=[{"role": "readWrite", "db": "audit"}])
    root["flags"].command("updateUser", "flags", pwd="another")
    root["health"].command("dropUser", "health")
    assert end_state(root) != seen
    done = {report.step: report.outcome for report in await steps(mongo(wanted)) if report.outcome != "ok"}
    assert done == {
        "role audit.audit_append": "mended",
        "role audit.audit_archive": "mended",
        "user tenant.tenant": "mended",
        "user flags.flags": "mended",
        "user health.health": "made",
    }
    assert end_state(root) == seen
    assert is_settled(await steps(mongo(wanted)))


async def test_without_the_archivers_uri_there_is_no_archiver(shared: tuple[Client, BootstrapSettings]) -> None:
    root, wanted = shared
    done = await steps(mongo(wanted.model_copy(update={"audit_archiver_mongo_uri": type(wanted.nats_url)("")})))
    assert done[-1].outcome == "skipped"
    assert list(end_state(root)["users of audit"]) == ["audit"]


async def test_a_wrong_root_password_is_said_without_it(mongod: MongodServer) -> None:
    with pytest.raises(ByHand, match="lets nobody in as root with this password") as refused:
        await steps(mongo(settings(mongod.port, "a-wrong-password")))
    assert "a-wrong-password" not in str(refused.value)


async def test_a_server_that_does_not_come_is_given_up_at_the_deadline() -> None:
    with pytest.raises(NotReady, match="MongoDB is not ready"):
        await steps(mongo(settings(free_port(), "x", BOOTSTRAP_WAIT_SECONDS="0.2")))


async def test_a_server_with_a_root_user_of_its_own_and_no_set_is_initiated_by_that_user(tmp_path: Path) -> None:
    """As the container image starts: its root user is made before there is a key file, a set or a network."""
    port, password, key_file, log = free_port(), secrets.token_hex(8), tmp_path / "key", tmp_path / "log"
    command = mongod_command(tmp_path, port, key_file)
    write_key_file(key_file)
    alone = [word for word in command if word not in {"--replSet", "rs0", "--keyFile", str(key_file)}]
    process = spawn(alone, log=log)
    with Client("127.0.0.1", port, serverSelectionTimeoutMS=20_000) as first:
        first.admin.command("createUser", "root", pwd=password, roles=["root"])
    end(process, 10)
    process = spawn(command, log=log)
    try:
        await _listens(process, port)
        wanted = settings(port, password)
        # Another process that died right after it had initiated the set changes nothing for the next.
        assert await steps(mongo(wanted), stop_after=1) == [Report("replica set rs0", "made")]  # type: ignore[arg-type]
        done = await steps(mongo(wanted))
        assert outcomes(done) == ["ok", "ok"] + ["made"] * (len(ROLES) + len(USERS))
        assert is_settled(await steps(mongo(wanted)))
    finally:
        process.kill()
        process.wait()


async def _listens(process: subprocess.Popen[bytes], port: int) -> None:
    async def answers() -> bool:
        assert process.poll() is None
        with Client("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500) as stranger:
            try:
                return bool(stranger.admin.command("hello"))
            except Exception:  # noqa: BLE001 - whatever it says while it starts, it is asked again
                return False

    await eventually(answers, seconds=30)
