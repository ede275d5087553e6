"""A replica set with key file authentication, and its root user.

There are two ways to the first user. On the machine of mongod itself the localhost exception lets anybody in until
there is one. From elsewhere nobody is let in, so the server has to come with its root user, as the official container
image makes it of `MONGO_INITDB_ROOT_USERNAME` and `_PASSWORD`; that user may also initiate the set.
Source: MongoDB manual, "Localhost Exception" and "replSetInitiate".
"""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infrastructure.bootstrap.reports import ByHand, NotReady, Outcome, Report

T = TypeVar("T")
Client = MongoClient[dict[str, Any]]

_UNAUTHORIZED, _AUTHENTICATION_FAILED, _NOT_YET_INITIALIZED = 13, 18, 94
_REFUSED = {_UNAUTHORIZED, _AUTHENTICATION_FAILED}
_ANSWER_MS = 2_000
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """What is wanted. `members` are `host:port` as the members and their clients reach each other, the first first.

    Attributes:
        root: the user who owns everything; for this job, never for a service.
    """

    name: str
    members: tuple[str, ...]
    password: str
    root: str = "root"

    def connect(self, member: str, *, authenticated: bool = True) -> Client:
        """Return a client of one member alone, each of whose calls ends after two seconds."""
        options: dict[str, Any] = {"directConnection": True}
        options |= dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"), _ANSWER_MS)
        if authenticated:
            options |= {"username": self.root, "password": self.password, "authSource": "admin"}
        return MongoClient(member, **options)


def establish(wanted: ReplicaSet, seconds: float, still_running: Callable[[], bool] = lambda: True) -> Iterator[Report]:
    """Make the servers a replica set with a primary and a root user, whatever of that is already done.

    A set of one that was last served at another address is re-addressed; members that are missing are added one by
    one. Reports the set, then the user, then the members.

    Raises:
        NotReady: not within `seconds`, or a server is no longer `still_running`.
        ByHand: root's password is another, or the set has members that nobody named.
    """
    patience = _Patience(time.monotonic() + seconds, still_running)
    initiation = _Initiation(wanted)
    patience.until(initiation.has_primary)
    yield Report(f"replica set {wanted.name}", initiation.outcome)
    primary, outcome = patience.until(lambda: _rooted(wanted))
    yield Report(f"user {wanted.root}", outcome)
    yield from _join(wanted, primary, patience)


class _Patience:
    """Looks again until what is looked for is there, or time is up."""

    def __init__(self, deadline: float, still_running: Callable[[], bool]) -> None:
        self._deadline = deadline
        self._still_running = still_running

    def until(self, look: Callable[[], T | None]) -> T:
        """Return the first true answer. Raises NotReady."""
        problem = "it does not answer"
        while time.monotonic() < self._deadline and self._still_running():
            try:
                found = look()
            except PyMongoError as failed:
                problem = str(failed)
            else:
                if found:
                    return found
                problem = "it has no primary yet"
            time.sleep(_POLL_SECONDS)
        raise NotReady(f"MongoDB is not ready: {problem}", "Look at the log of mongod")


class _Initiation:
    """The way to a set with a primary; `outcome` is what had to be done for it."""

    def __init__(self, wanted: ReplicaSet) -> None:
        self._wanted = wanted
        self.outcome = Outcome.OK

    def has_primary(self) -> bool:
        """True when there is one; otherwise does what is still missing, if anything."""
        with self._wanted.connect(self._wanted.members[0], authenticated=False) as anonymous:
            hello = anonymous.admin.command("hello")
            if hello.get("primary"):
                return True
            if hello.get("isreplicaset"):  # it has no configuration, or one that names another address
                self._initiate(anonymous)
            return False

    def _initiate(self, anonymous: Client) -> None:
        members = [{"_id": number, "host": host} for number, host in enumerate(self._wanted.members)]
        config = {"_id": self._wanted.name, "members": members}
        try:
            anonymous.admin.command("replSetInitiate", config)
        except OperationFailure as refused:
            if refused.code not in _REFUSED:
                raise
            self._initiate_as_root(config)
        else:
            self.outcome = Outcome.MADE

    def _initiate_as_root(self, config: dict[str, Any]) -> None:
        with self._wanted.connect(self._wanted.members[0]) as root:
            try:
                present = root.admin.command("replSetGetConfig")["config"]
            except OperationFailure as refused:
                if refused.code == _AUTHENTICATION_FAILED:
                    raise _wrong_password(self._wanted) from refused
                if refused.code != _NOT_YET_INITIALIZED:
                    raise
                root.admin.command("replSetInitiate", config)
                self.outcome = Outcome.MADE
            else:
                self._readdress(root, present)

    def _readdress(self, root: Client, present: dict[str, Any]) -> None:
        """Give the only member its present address: a node that is not in its own configuration never leads."""
        only = present["members"][0]
        if len(present["members"]) == 1 and only["host"] != self._wanted.members[0]:
            only["host"] = self._wanted.members[0]
            present["version"] += 1
            root.admin.command("replSetReconfig", present, force=True)
            self.outcome = Outcome.MENDED


def _rooted(wanted: ReplicaSet) -> tuple[str, Outcome] | None:
    """The primary, and what became of its root user: the localhost exception ends with the first user."""
    with wanted.connect(wanted.members[0], authenticated=False) as anonymous:
        primary = anonymous.admin.command("hello").get("primary")
    if not primary:
        return None
    if _opens(wanted, primary):
        return primary, Outcome.OK
    with wanted.connect(primary, authenticated=False) as anonymous:
        try:
            anonymous.admin.command("createUser", wanted.root, pwd=wanted.password, roles=["root"])
        except OperationFailure as refused:
            if refused.code not in _REFUSED:
                raise
            raise _wrong_password(wanted) from refused
    return primary, Outcome.MADE


def _opens(wanted: ReplicaSet, primary: str) -> bool:
    with wanted.connect(primary) as root:
        try:
            root.admin.command("listDatabases", nameOnly=True)
        except OperationFailure as refused:
            if refused.code != _AUTHENTICATION_FAILED:
                raise
            return False
    return True


def _wrong_password(wanted: ReplicaSet) -> ByHand:
    return ByHand(
        f"MongoDB lets nobody in as {wanted.root} with this password",
        "Give the password that the server has; a server on another machine must come with its root user "
        "(MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD of the container image)",
    )


def _join(wanted: ReplicaSet, primary: str, patience: _Patience) -> Iterator[Report]:
    """Add the members that are missing; MongoDB takes one voting member per change."""
    with wanted.connect(primary) as root:
        present = {member["host"] for member in root.admin.command("replSetGetConfig")["config"]["members"]}
        if unknown := sorted(present - set(wanted.members)):
            raise ByHand(
                f"The replica set {wanted.name} has a member that is not named: {', '.join(unknown)}",
                "Name it in BOOTSTRAP_MONGO_MEMBERS, or take it out with rs.remove()",
            )
        for host in wanted.members[1:]:
            if host in present:
                yield Report(f"member {host}", Outcome.OK)
                continue
            patience.until(functools.partial(_added, root, host))
            yield Report(f"member {host}", Outcome.MENDED)


def _added(root: Client, host: str) -> bool:
    config = root.admin.command("replSetGetConfig")["config"]
    if all(member["host"] != host for member in config["members"]):
        number = 1 + max(member["_id"] for member in config["members"])
        config["members"].append({"_id": number, "host": host})
        config["version"] += 1
        root.admin.command("replSetReconfig", config)
    return True
