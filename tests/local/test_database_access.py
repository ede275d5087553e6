"""What MongoDB itself refuses, with the users and roles of the table, whatever a service's code tries."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import IndexModel, MongoClient
from pymongo.errors import OperationFailure

from infrastructure.bootstrap import database_access
from infrastructure.local.servers import MongodServer

UNAUTHORIZED = 13
Client = MongoClient[dict[str, Any]]


@pytest.fixture(scope="module")
def passwords(mongod: MongodServer) -> dict[str, str]:
    made = {user.name: secrets.token_hex(8) for user in database_access.USERS}
    with MongoClient[dict[str, Any]](mongod.uri) as root:
        database_access.apply(root, made)
    return made


@pytest.fixture
def root(mongod: MongodServer) -> Iterator[Client]:
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        yield client
        for name in ("tenant", "audit"):
            for collection in client[name].list_collection_names():
                client[name].drop_collection(collection)


@pytest.fixture
def connect(mongod: MongodServer, root: Client, passwords: dict[str, str]) -> Iterator[Any]:
    opened: list[Client] = []

    def connect_as(user: str, database: str) -> Client:
        client: Client = MongoClient(
            "127.0.0.1",
            mongod.port,
            replicaSet="rs0",
            username=user,
            password=passwords[user],
            authSource=database,
        )
        opened.append(client)
        return client

    yield connect_as
    for client in opened:
        client.close()


def refused(action: Any) -> bool:
    with pytest.raises(OperationFailure) as error:
        action()
    return error.value.code == UNAUTHORIZED


def test_a_service_cannot_read_another_services_database(connect: Any, root: Client) -> None:
    root["audit"]["entries"].insert_one({"_id": 1})
    tenant = connect("tenant", "tenant")
    assert refused(lambda: tenant["audit"]["entries"].find_one())
    assert refused(lambda: tenant["audit"]["entries"].insert_one({}))
    assert refused(lambda: tenant["admin"]["system.users"].find_one())
    assert refused(lambda: tenant["local"]["oplog.rs"].find_one())


def test_a_service_has_transactions_indexes_and_change_streams_in_its_own(connect: Any) -> None:
    client = connect("tenant", "tenant")
    client["tenant"]["tenants"].create_index("slug", unique=True)
    with client["tenant"]["outbox"].watch() as changes, client.start_session() as session:
        session.with_transaction(lambda tx: client["tenant"]["outbox"].insert_one({"_id": "e1"}, session=tx))
        assert next(changes)["fullDocument"] == {"_id": "e1"}


def test_the_audit_service_adds_and_reads_entries_in_its_transactions(connect: Any) -> None:
    client = connect("audit", "audit")
    log = client["audit"]
    log["entries"].create_indexes([IndexModel([("at", -1)])])

    def append(tx: Any) -> None:
        log["entries"].insert_one({"_id": 1, "hash": "h"}, session=tx)
        log["heads"].replace_one({"_id": "head"}, {"seq": 1}, upsert=True, session=tx)
        log["inbox"].insert_one({"_id": "event"}, session=tx)

    with client.start_session() as session:
        session.with_transaction(append)
    assert log["entries"].find_one({"_id": 1}) == {"_id": 1, "hash": "h"}


@pytest.mark.parametrize("collection", ["entries", "checkpoints"])
def test_the_audit_service_can_neither_change_nor_remove_what_it_logged(
    connect: Any, root: Client, collection: str
) -> None:
    root["audit"][collection].insert_one({"_id": 1, "hash": "h"})
    client = connect("audit", "audit")
    log = client["audit"][collection]
    assert refused(lambda: log.update_one({}, {"$set": {"hash": "forged"}}))
    assert refused(lambda: log.replace_one({"_id": 1}, {}))
    assert refused(lambda: log.find_one_and_update({}, {"$set": {"hash": "forged"}}))
    assert refused(lambda: log.delete_one({}))
    assert refused(log.drop)
    assert refused(lambda: log.rename("elsewhere"))
    assert refused(lambda: client["audit"]["outbox"].aggregate([{"$out": collection}]).to_list())
    assert refused(lambda: client["audit"].command("collMod", collection, validator={}))
    assert refused(lambda: client.drop_database("audit"))
    assert list(root["audit"][collection].find()) == [{"_id": 1, "hash": "h"}]


def test_the_audit_service_cannot_give_itself_more(connect: Any) -> None:
    client = connect("audit", "audit")
    assert refused(lambda: client["audit"].command("grantRolesToUser", "audit", roles=["readWrite"]))
    assert refused(lambda: client["audit"].command("createRole", "more", privileges=[], roles=["readWrite"]))


def test_the_archiver_may_remove_entries_but_neither_change_them_nor_remove_checkpoints(
    connect: Any, root: Client
) -> None:
    root["audit"]["entries"].insert_many([{"_id": 1}, {"_id": 2}])
    root["audit"]["checkpoints"].insert_one({"_id": 1})
    log = connect("audit_archiver", "audit")["audit"]
    log["entries"].delete_one({"_id": 1})
    assert [entry["_id"] for entry in root["audit"]["entries"].find()] == [2]
    assert refused(lambda: log["entries"].update_one({}, {"$set": {"hash": "forged"}}))
    assert refused(lambda: log["checkpoints"].delete_one({}))


def test_applying_the_table_again_changes_a_password_and_keeps_everything_else(
    mongod: MongodServer, root: Client, passwords: dict[str, str], connect: Any
) -> None:
    connect("tenant", "tenant")["tenant"]["tenants"].insert_one({"_id": 1})
    passwords["tenant"] = secrets.token_hex(8)
    database_access.apply(root, passwords)
    database_access.apply(root, passwords)
    assert connect("tenant", "tenant")["tenant"]["tenants"].find_one() == {"_id": 1}


def test_a_role_that_somebody_widened_is_made_narrow_again(
    root: Client, passwords: dict[str, str], connect: Any
) -> None:
    root["audit"].command("grantRolesToRole", "audit_append", roles=["readWrite"])
    database_access.apply(root, passwords)
    assert refused(lambda: connect("audit", "audit")["audit"]["entries"].delete_one({}))
