"""`snapsku doctor`: what an operator checks first, one function and one line for each.

Each check returns what it found, or raises Wrong. They change nothing but a row of their own in the
database, a key of their own in Redis that expires, and a file of their own in the data directory,
which is removed.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from functools import partial

import redis
import requests
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from broker.flower_password import known_password
from broker.queues import QUEUES
from broker.redis_connection import connect_redis
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.process_reports import ProcessReports
from catalog.database.connection import Row, connect, databases
from catalog.rows.changes import ChangeState
from catalog.schema.indexes import missing_indexes
from catalog.schema.version import SCHEMA, Schema
from catalog.store import Catalog, catalog_of
from cli.embedded_database import FOR_TRIALS, warning
from cli.findings import Doubtful, Finding, Wrong, find
from cli.readiness import address_of
from cli.redis_checks import processes, queue, redis_server, room, vectors
from config.allow_list import AllowList
from config.data_directory import require_usable
from config.redaction import clean_text
from config.server_faults import mongo_fault
from config.settings import Settings, SettingsError, is_loopback
from identity.custody import Custody
from identity.vault import Vault

#: Less free disk is wrong: a snapshot needs room for a second copy.
FREE_BYTES = 2**30

#: Changes of the model that are read at most.
MODEL_CHANGES = 500

#: Timeout for the API and Flower, which run on this machine.
HTTP_SECONDS = 3.0


def examine(settings: Settings, *, with_model: bool, is_embedded: bool) -> Iterator[Finding]:
    """Yield the findings one by one; `with_model` loads the weights, which takes seconds.

    `is_embedded` tells that the database is the embedded one.
    """
    yield find("data directory", lambda: data_directory(settings))
    yield find("downloads", lambda: downloads(settings))
    yield from _look_at_mongo(settings, is_embedded)
    yield from _look_at_redis(settings)
    yield find("api", lambda: api(settings))
    yield find("flower", lambda: flower(settings))
    if with_model:
        yield find("weights", lambda: weights(settings))


def _look_at_mongo(settings: Settings, is_embedded: bool) -> Iterator[Finding]:
    url = settings.mongo_url.get_secret_value()
    if not url:
        yield find("mongodb", lambda: not_there("SNAPSKU_MONGO_URL"))
        return
    with connect(url, settings.mongo_timeout_seconds) as client:
        first = find("mongodb", lambda: mongodb(client, settings))
        yield first
        if first.is_wrong:
            return  # the others would wait as long and fail too
        catalog = catalog_of(settings, client)
        if is_embedded:
            yield find("database", lambda: embedded(catalog))
        yield find("indexes", lambda: indexes(client, settings))
        yield find("schema", lambda: schema(client, settings))
        yield find("model", lambda: model(catalog))
        yield find("index owner", lambda: index_owner(catalog))
        yield find("users", lambda: users(settings, catalog))


def users(settings: Settings, catalog: Catalog) -> str:
    """Check that the secrets of all users can be read, and return how many users there are."""
    accounts = catalog.accounts
    if not accounts.has_keys():
        return "none: programs of this machine alone are served, until `snapsku users add`"
    vault = Vault(settings.secret_key.get_secret_value(), settings.data_dir)
    Custody(accounts, catalog.seal, vault).require()
    found = accounts.all()
    for account in found:
        key = accounts.key(account.access_key)
        if key is None:
            raise Wrong(f"{account.user} has no keys; run `snapsku users rotate {account.user}`")
        vault.open(key.access_key, key.secret)
    return f"{len(found)}, whose secrets can be read"


def _look_at_redis(settings: Settings) -> Iterator[Finding]:
    url = settings.redis_url.get_secret_value()
    if not url:
        yield find("redis", lambda: not_there("SNAPSKU_REDIS_URL"))
        return
    with connect_redis(url, settings.redis_timeout_seconds, settings.redis_timeout_seconds) as r:
        first = find("redis", lambda: redis_server(r))
        yield first
        if first.is_wrong and not _answers(r):
            return
        consumption = Consumption(r, settings.stalled_seconds)
        yield find("room for fetched bytes", lambda: room(r, settings))
        for name in QUEUES:
            yield find(f"queue {name}", partial(queue, r, consumption, name))
        yield find("vectors", lambda: vectors(IndexReports(r, settings.stalled_seconds)))
        yield from processes(ProcessReports(r))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def not_there(variable: str) -> str:
    """Raise Wrong, since the settings name no server and no stack runs one."""
    raise Wrong(
        f"no address is set, and no stack with a server of its own runs on this data "
        f"directory; start `snapsku up`, or set {variable}"
    )


def data_directory(settings: Settings) -> str:
    """Check that a file can be written, and that FREE_BYTES of disk are free."""
    folder = settings.data_dir.resolve()
    if not folder.exists():
        raise Wrong(f"{folder} does not exist; make it, or start the stack once")
    try:
        require_usable(folder)
    except SettingsError as fault:
        raise Wrong(str(fault)) from fault
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise Wrong(f"{folder} has {free / 2**30:.1f} GiB free; make room or move SNAPSKU_DATA_DIR")
    return f"{folder} is writable, {free / 2**30:.1f} GiB free"


def downloads(settings: Settings) -> str:
    """Return which addresses and ports downloads may use."""
    allow = AllowList.parse(settings.fetch_allow)
    also = settings.fetch_allow if allow != AllowList() else "nothing"
    return f"public addresses, ports {', '.join(settings.fetch_ports)}; besides them {also}"


def mongodb(client: MongoClient[Row], settings: Settings) -> str:
    """Check that a row can be written and read back."""
    try:
        # The embedded server reports no version.
        version = client.server_info().get("version", "unknown")
        scratch = databases(client, settings.mongo_database)[0]["doctor"]
        row = {"_id": uuid.uuid4().hex, "written": 1}
        scratch.insert_one(row)
        found = scratch.find_one({"_id": row["_id"]})
        scratch.delete_one({"_id": row["_id"]})
    except PyMongoError as fault:
        raise Wrong(mongo_fault(fault)) from fault
    if found != row:
        raise Wrong("a row that was written can't be read; check read preference and rights")
    return f"version {version}, writes and reads"


def embedded(catalog: Catalog) -> str:
    """Say what the embedded database is for; doubtful beyond that."""
    fault = warning(catalog)
    if fault is not None:
        raise Doubtful(fault)
    return FOR_TRIALS


def indexes(client: MongoClient[Row], settings: Settings) -> str:
    """Check that the indexes which the queries need exist."""
    missing = missing_indexes(client, settings.mongo_database)
    if missing:
        raise Wrong(f"missing: {', '.join(missing)}; start the API or a worker, which build them")
    return "all there"


def schema(client: MongoClient[Row], settings: Settings) -> str:
    """Check that the rows have the schema version of the code."""
    current = Schema(*databases(client, settings.mongo_database)).current()
    if current is None:
        raise Wrong("no version yet; start the API or a worker, which write it")
    if current > SCHEMA:
        raise Wrong(f"rows of version {current}, code of version {SCHEMA}; run the newer release")
    if current < SCHEMA:
        raise Wrong(f"rows of version {current}; start the API or a worker to bring it to {SCHEMA}")
    return f"version {current}"


def model(catalog: Catalog) -> str:
    """Return which model made the vectors; wrong if a change waits for a decision."""
    current = catalog.models.current()
    if current is None:
        raise Wrong("none yet; start a vision or a search worker")
    others = sorted(catalog.models.in_use() - {current.model_id})
    waiting = [
        change.collection
        for change in catalog.changes.due(MODEL_CHANGES)
        if change.state is ChangeState.WAITING
    ]
    if waiting:
        raise Wrong(
            f"the change of {', '.join(waiting[:3])} waits for you, for images would be lost; run "
            f"`snapsku models lost {waiting[0]}`"
        )
    besides = f"; in use besides: {', '.join(others)}" if others else ""
    return f"{current.model_id}, {current.dimensions} numbers{besides}"


def index_owner(catalog: Catalog) -> str:
    """Return which process owns the index, on whatever machine; wrong if none does."""
    owner = catalog.ownership.current()
    if owner is None:
        raise Wrong("no process ever owned the index; start the index worker")
    if not owner.process:
        raise Wrong("no process owns the index, the last one released it; start the index worker")
    if owner.has_ended:
        raise Wrong(f"{owner.process} owned the index and is silent; start the index worker")
    return f"{owner.process}, with {owner.directory}, epoch {owner.epoch}"


def _get(url: str, what: str, port: str, auth: tuple[str, str] | None = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, auth=auth, timeout=HTTP_SECONDS)
        except requests.RequestException as fault:
            raise Wrong(f"{url} does not answer; start {what}, or check {port}") from fault


def api(settings: Settings) -> str:
    """Check that the API answers /healthz."""
    url = f"{address_of(settings.host, settings.port)}/healthz"
    answer = _get(url, "the API", "SNAPSKU_PORT")
    if answer.status_code != 200 or answer.text.replace(" ", "").strip() != '{"status":"ok"}':
        raise Wrong(f"another program answers at {url}; change SNAPSKU_PORT")
    return f"answers at {url}"


def flower(settings: Settings) -> str:
    """Check that Flower answers, with a password unless it listens on loopback only.

    It is asked at SNAPSKU_FLOWER_URL, or on this machine.
    """
    base = settings.flower_url or address_of(settings.host, settings.flower_port)
    variable = "SNAPSKU_FLOWER_URL" if settings.flower_url else "SNAPSKU_FLOWER_PORT"
    url = f"{base}/healthcheck"
    password = known_password(settings)
    credentials = (settings.flower_user, password) if password else None
    answer = _get(url, "Flower", variable, credentials)
    if answer.status_code == 401 and not password:
        raise Wrong(f"Flower at {url} wants a password; set SNAPSKU_FLOWER_PASSWORD as there")
    if answer.status_code == 401:
        raise Wrong(f"Flower at {url} has another password; start it anew with these settings")
    if answer.status_code != 200 or answer.text != "OK":
        raise Wrong(f"another program answers at {url}; change {variable}")
    if password:
        return f"answers at {url}, with a password"
    if settings.flower_url or not is_loopback(settings.host):
        raise Wrong(f"{url} serves other machines without a password; set SNAPSKU_FLOWER_PASSWORD")
    return f"answers at {url}, without a password on loopback"


def weights(settings: Settings) -> str:
    """Check that the settings' models load, and that the catalogue uses no others."""
    from workers.support.model import load_from, next_of

    try:
        loaded = load_from(settings)
        following = next_of(settings)
        another = None if following is None else load_from(following)
    except ValueError as fault:
        text = clean_text(str(fault), 300)
        raise Wrong(f"{text}; check SNAPSKU_DETECTOR, SNAPSKU_EMBEDDER, their weights") from fault
    url = settings.mongo_url.get_secret_value()
    with connect(url, settings.mongo_timeout_seconds) as client:
        catalog = catalog_of(settings, client)
        used = catalog.models.in_use()
    models = [one for one in (loaded, another) if one is not None]
    chosen = [one.model_id for one in models]
    missing = sorted(
        used.difference(chosen, {other.model_id for one in models for other in one.relatives()})
    )
    if missing:
        raise Wrong(
            f"the settings choose {', '.join(chosen)}, the catalogue was made with "
            f"{', '.join(missing)}; set detector and embedder as before"
        )
    return f"{', '.join(chosen)} loads"
