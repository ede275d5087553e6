"""MongoDB: every collection of every service as it was at one moment, and back into an empty server.

A session with `snapshot` reads all its collections at one cluster time, across databases and beside writers (MongoDB
manual, "Read Concern snapshot"; 5.0 and later). The server keeps such a moment for
`minSnapshotHistoryWindowInSeconds`, 300 by default.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bson import decode_file_iter, json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from infrastructure.backup.deployment import Client
from infrastructure.backup.errors import Refused
from infrastructure.backup.folder import Draft
from infrastructure.backup.manifest import CollectionCopy, Moment

SERVERS_OWN = frozenset({"admin", "config", "local"})
ATTEMPTS = 3
_SNAPSHOT_TOO_OLD, _SNAPSHOT_UNAVAILABLE = 239, 246
_BATCH_DOCUMENTS = 1_000
_BATCH_BYTES = 8 * 1024 * 1024
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, tz_aware=True)

Row = Mapping[str, Any]
Change = Callable[[RawBSONDocument], Row]


@dataclass(frozen=True)
class _Collection:
    """How a collection is made: options and indexes as the server lists them."""

    service: str
    name: str
    options: Mapping[str, Any]
    indexes: list[dict[str, Any]]

    @property
    def path(self) -> str:
        """Its files' common path in the backup; whatever a name holds, it is one file."""
        return f"mongo/{quote(self.service, safe='')}/{quote(self.name, safe='')}"


@dataclass(frozen=True)
class Copied:
    """What was copied, and of which moment."""

    moment: Moment
    collections: list[CollectionCopy]
    left_out: list[str]
    version: str


class _CatalogMoved(Exception):
    """A collection or an index came or went while the moment was read."""


def copy(client: Client, databases: Mapping[str, str], draft: Draft) -> Copied:
    """Write every collection into the draft, all of one moment after the call.

    Raises:
        Refused: there is nothing, it took longer than the server keeps a moment, or collections kept coming and going.
        The driver's errors.
    """
    for _ in range(ATTEMPTS):
        try:
            return _copy_once(client, databases, draft)
        except _CatalogMoved:
            continue
        except OperationFailure as error:
            if error.code == _SNAPSHOT_TOO_OLD:
                raise _too_slow(client) from error
            if error.code != _SNAPSHOT_UNAVAILABLE:
                raise
    raise Refused(
        f"Collections or indexes came or went during each of {ATTEMPTS} attempts",
        "Wait until no service starts and no projection is built anew, then try again",
    )


def _copy_once(client: Client, databases: Mapping[str, str], draft: Draft) -> Copied:
    catalog = _catalog(client, databases)
    if not catalog:
        raise Refused(
            f"MongoDB holds nothing in {', '.join(sorted(databases.values()))}",
            "Look whether BACKUP_MONGO_URI and BACKUP_DATABASES name this deployment",
        )
    with client.start_session(snapshot=True) as session:
        # The first read takes the moment; what is listed before and after it was there all the time.
        first = catalog[0]
        answer = client[databases[first.service]].command(
            {"find": first.name, "limit": 1, "singleBatch": True}, session=session
        )
        moment = answer["cursor"]["atClusterTime"]
        collections = [_copy_collection(client, databases[each.service], each, session, draft) for each in catalog]
    if _catalog(client, databases) != catalog:
        raise _CatalogMoved
    known = SERVERS_OWN | set(databases.values())
    return Copied(
        Moment(seconds=moment.time, increment=moment.inc),
        collections,
        sorted(set(client.list_database_names()) - known),
        client.server_info()["version"],
    )


def _catalog(client: Client, databases: Mapping[str, str]) -> list[_Collection]:
    found = []
    for service, database in sorted(databases.items()):
        for listed in client[database].list_collections(filter={"type": "collection"}):
            name = listed["name"]
            if not name.startswith("system."):
                indexes = [dict(index) for index in client[database][name].list_indexes()]
                found.append(_Collection(service, name, listed.get("options", {}), indexes))
    return sorted(found, key=lambda each: (each.service, each.name))


def _copy_collection(
    client: Client, database: str, each: _Collection, session: ClientSession, draft: Draft
) -> CollectionCopy:
    documents = 0
    with draft.file(f"{each.path}.bson") as data:
        # The driver's stub says documents; these are bytes.
        batches: Iterable[Any] = client[database][each.name].find_raw_batches(
            session=session, batch_size=_BATCH_DOCUMENTS
        )
        for batch in batches:
            data.write(batch)
            documents += _count(batch)
    with draft.file(f"{each.path}.metadata.json") as definition:
        described = {"options": each.options, "indexes": each.indexes}
        definition.write(json_util.dumps(described, json_options=json_util.CANONICAL_JSON_OPTIONS).encode())
    return CollectionCopy(
        service=each.service, name=each.name, documents=documents, data=data.stored, definition=definition.stored
    )


def _count(batch: bytes) -> int:
    """How many documents lie one after the other; each begins with its length (bsonspec.org)."""
    at = count = 0
    while at < len(batch):
        at += struct.unpack_from("<i", batch, at)[0]
        count += 1
    return count


def _too_slow(client: Client) -> Refused:
    name = "minSnapshotHistoryWindowInSeconds"
    seconds = client.admin.command({"getParameter": 1, name: 1})[name]
    remedy = f"db.adminCommand({{setParameter: 1, {name}: {seconds * 4}}})"
    return Refused(
        f"Reading took longer than MongoDB keeps a moment, which is {seconds} s",
        f"On every member run {remedy} and try again, or back up at a quieter time",
    )


def require_empty(client: Client, databases: Mapping[str, str]) -> None:
    """Raise Refused when one of the databases has a collection."""
    for database in sorted(databases.values()):
        if found := client[database].list_collection_names():
            raise Refused(
                f"MongoDB is not empty: database {database} has the collection {min(found)}",
                "A restore replaces nothing: give it servers with empty data folders, or drop these databases",
            )


def load(client: Client, database: str, copied: CollectionCopy, folder: Path, change: Change | None = None) -> None:
    """Make a collection with its options, documents (each as `change` returns it) and indexes.

    Indexes come last: one with a time to live begins to delete when it is made.

    Raises:
        Refused: the file does not hold as many documents as were written. The driver's errors.
    """
    described = json_util.loads(
        (folder / copied.definition.path).read_text(encoding="utf-8"), json_options=json_util.CANONICAL_JSON_OPTIONS
    )
    client[database].command({"create": copied.name, **described["options"]})
    target = client[database].get_collection(copied.name, write_concern=WriteConcern("majority", j=True))
    documents = 0
    with (folder / copied.data.path).open("rb") as file:
        for batch in _batches(decode_file_iter(file, _RAW)):
            target.insert_many([row if change is None else change(row) for row in batch])  # type: ignore[misc]
            documents += len(batch)
    if documents != copied.documents:
        raise Refused(
            f"{folder / copied.data.path} holds {documents} documents, and {copied.documents} were written",
            "Restore from another backup",
        )
    indexes = [{name: value for name, value in index.items() if name != "ns"} for index in described["indexes"]]
    if own := [index for index in indexes if index["name"] != "_id_"]:
        client[database].command({"createIndexes": copied.name, "indexes": own})


def _batches(rows: Iterable[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.raw)
        if len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
