"""Every setting of the service, typed, with its unit and default.

Settings come from environment variables with the prefix SNAPSKU_, or from a file of such lines:
`snapsku.env` in the working folder, or the file that SNAPSKU_SETTINGS_FILE names. A variable wins
over the file. A secret may stand in a file of its own, which SNAPSKU_..._FILE names. No other
module reads settings from the environment.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import asdict
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from config.allow_list import AllowListText, CommaSeparated
from config.endpoints import read_endpoints
from config.refusal import refuse
from config.secret_files import chosen_files, file_variables, with_files_read
from config.sections.pictures import PictureSettings
from config.server_urls import MongoUrl, RedisUrl
from config.settings_file import read_settings_file

PREFIX = "SNAPSKU_"
SETTINGS_FILE_VARIABLE = "SNAPSKU_SETTINGS_FILE"
DEFAULT_SETTINGS_FILE = "snapsku.env"

#: Stands for the weights that come with a detector or an embedder.
DEFAULT_WEIGHTS = "DEFAULT"


class SettingsError(Exception):
    """A setting has an unusable value; the message is one line for operators."""


class Settings(PictureSettings):
    """The settings, checked once at start. Times are seconds, sizes bytes, unless said."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    # Where things are
    data_dir: Path = Field(Path("data"), description="folder of everything that must stay")
    redis_url: RedisUrl = Field(SecretStr(""), description="Redis; empty: an embedded server")
    mongo_url: MongoUrl = Field(SecretStr(""), description="MongoDB; empty: an embedded server")
    mongo_database: str = Field(
        "snapsku", pattern=r"^[A-Za-z0-9_-]+$", description="database; blobs go to <name>_blobs"
    )
    log_format: Literal["console", "json"] = Field("console", description="form of the log lines")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least")

    # The HTTP API
    host: str = Field("127.0.0.1", description="address that the API and Flower listen on")
    port: int = Field(8000, ge=1, le=65535, description="port of the API")
    flower_port: int = Field(5555, ge=1, le=65535, description="port of Flower")
    flower_tasks: int = Field(10_000, ge=1, description="tasks that Flower remembers, 5 kB each")
    flower_user: str = Field(
        "admin", min_length=1, pattern=r"^[^:,]+$", description="who may see Flower"
    )
    flower_password: SecretStr = Field(
        SecretStr(""),
        description="password of Flower; empty: none on loopback, beyond it that of a file"
        " flower.password in data_dir, which Flower makes",
    )
    flower_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/@?#]+)?$",
        description="where `snapsku doctor` finds Flower, such as http://flower:5555; empty: here",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="encrypts the secrets of users, 32 characters or more; empty: a file secret.key"
        " in data_dir",
    )
    api_processes: int = Field(1, ge=1, le=64, description="gunicorn worker processes")
    api_threads: int = Field(16, ge=2, le=256, description="threads of each API process")
    body_bytes: int = Field(8 * 2**20, ge=0, description="largest request body; 0: no limit")
    body_values: int = Field(
        100_000, ge=0, description="values and keys in the JSON of a request; 0: no limit"
    )
    client_seconds: float = Field(
        60.0, gt=0, description="a client may take so long to send a request, or take its answer"
    )
    clients_bytes: int = Field(
        256 * 2**20, ge=0, description="of requests and answers under way, in an API process"
    )
    clients_per_process: int = Field(
        500, ge=8, description="connections of an API process, the oldest ends beyond"
    )

    # Quotas, for users without their own; 0 stands for no limit
    requests_per_second: int = Field(0, ge=0, description="calls of a user in any second")
    requests_per_day: int = Field(
        0, ge=0, description="calls of a user in a day, which begins with the first of them"
    )

    # Limits of the contract; 0 stands for no limit where nothing else is said
    collections_per_user: int = Field(
        10, ge=0, le=10_000, description="collections of one user; 0 stands for 10000"
    )
    products_per_collection: int = Field(100_000, ge=0, description="products of a collection")
    products_per_call: int = Field(200, ge=0, description="products in one create_product")
    images_per_product: int = Field(
        30, ge=0, le=3000, description="images of a product; 0 stands for 3000"
    )
    images_per_call: int = Field(200, ge=0, description="images in one add_image")
    deletions_per_call: int = Field(200, ge=0, description="items in one delete call")
    name_characters: int = Field(50, ge=1, description="characters of a collection_name")
    id_characters: int = Field(128, ge=1, description="characters of a product_id or image_id")
    product_name_characters: int = Field(256, ge=1, description="characters of a product_name")
    image_info_characters: int = Field(256, ge=0, description="characters of an image_info")
    topk_limit: int = Field(200, ge=1, le=1000, description="largest topk")
    topk_default: int = Field(50, ge=1, description="topk where a search names none")
    categories: CommaSeparated = Field(
        ("服装", "鞋靴", "其他"), min_length=1, description="categories, comma-separated"
    )

    # Chunks, leases and the sweep
    chunk_images: int = Field(16, ge=1, le=200, description="images in a chunk of a task")
    lease_seconds: float = Field(30.0, gt=0, description="a stage that is silent so long is dead")
    lease_renewal_seconds: float = Field(10.0, gt=0, description="how often a lease is renewed")
    sweep_seconds: float = Field(5.0, gt=0, description="how often work in the background begins")
    clock_settling_seconds: float = Field(
        900.0, ge=0, description="after the clock jumped, nothing is forgotten for so long"
    )
    unclean_ends: int = Field(3, ge=1, description="unclean ends after which an image is given up")
    submission_seconds: float = Field(
        120.0, gt=0, description="an add_image that has not answered after it is rolled back"
    )
    recount_seconds: float = Field(
        60.0,
        gt=0,
        description="a collection's counters are recounted so long after its last change; where "
        "changes go on, every five times as long",
    )
    result_seconds: int = Field(3_600, ge=60, description="how long Celery keeps a result")
    visibility_seconds: int = Field(900, ge=15, description="visibility timeout of the broker")
    time_limit_seconds: int = Field(120, ge=10, description="hard limit of one stage of a chunk")
    probe_seconds: float = Field(5.0, gt=0, description="how often every queue is probed")
    stalled_seconds: float = Field(
        30.0, gt=0, description="a queue on which nothing was done so long makes /readyz answer 503"
    )
    redis_timeout_seconds: float = Field(2.0, gt=0, description="to connect to Redis and read")
    mongo_timeout_seconds: float = Field(5.0, gt=0, description="to find MongoDB")

    # How much waits, and how long things stay; 0 stands for no limit
    backlog_images: int = Field(
        100_000, ge=0, description="images of unfinished tasks from which add_image is busy"
    )
    backlog_seconds: float = Field(
        21_600.0, ge=0, description="age of the oldest message from which add_image is busy"
    )
    backlog_bytes: int = Field(
        20 * 2**30, ge=0, description="Base64 of unfinished tasks from which add_image is busy"
    )
    disk_free_bytes: int = Field(
        2**30, ge=0, description="free disk, of any host, below which add_image is busy"
    )
    task_seconds: float = Field(
        604_800.0, gt=0, description="a finished task and its failed images are forgotten after"
    )
    deleted_seconds: float = Field(
        3_600.0, gt=0, description="the row of a deleted image is removed after"
    )
    key_seconds: float = Field(
        86_400.0, gt=0, description="the answer to a call with an Idempotency-Key is kept"
    )

    # Fetching
    fetch_allow: AllowListText = Field(
        "", description="hosts or networks (:port) allowed though not public, comma-separated"
    )
    fetch_ports: CommaSeparated = Field(("80", "443"), description="allowed ports of URLs")
    fetch_pass_seconds: float = Field(20.0, gt=0, description="one pass over a chunk's URLs")
    fetch_connect_seconds: float = Field(3.0, gt=0, description="to connect to a host")
    fetch_gap_seconds: float = Field(5.0, gt=0, description="longest silence of a host")
    fetch_image_seconds: float = Field(15.0, gt=0, description="one image, everything included")
    fetch_redirects: int = Field(5, ge=0, le=20, description="redirects of a URL that are followed")
    fetch_passes: int = Field(4, ge=1, description="tries of a URL whose fault may pass")
    fetch_retry_seconds: float = Field(3.0, gt=0, le=300, description="until a URL's second try")
    fetch_down_seconds: float = Field(
        120.0,
        gt=0,
        description="images of a host that fails for so long fail without being asked for",
    )
    fetch_threads: int = Field(16, ge=1, le=128, description="downloads at once in a worker")
    fetch_per_host: int = Field(4, ge=1, description="downloads at once from one host")
    staged_bytes: int = Field(
        512 * 2**20, ge=0, description="fetched bytes in Redis at which fetching waits; 0: no limit"
    )
    staged_seconds: int = Field(3600, ge=60, description="how long fetched bytes wait in Redis")

    # Vision
    detector: str = Field(
        "product-detector", description="or activation-map, or a torchvision detection model"
    )
    detector_weights: str = Field(DEFAULT_WEIGHTS, description="name of a weight, or a file")
    embedder: str = Field(
        "product-embedder",
        description="or efficientnet-lite0 (1280 numbers), or a torchvision model",
    )
    embedder_weights: str = Field(DEFAULT_WEIGHTS, description="name of a weight, or a file")
    next_detector: str = Field(
        "", description="to change the model: the detector to come; empty: the same"
    )
    next_detector_weights: str = Field("", description="its weights; empty: as without")
    next_embedder: str = Field(
        "", description="to change the model: the embedder to come; empty: the same"
    )
    next_embedder_weights: str = Field("", description="its weights; empty: as without")
    device: str = Field("cpu", description="torch device of vision and search workers")
    engine: Literal["onnxruntime", "torch"] = Field(
        "onnxruntime", description="runs the default networks on cpu; other devices: torch"
    )
    torch_threads: int = Field(
        2, ge=1, description="threads of torch and the engine in a vision or search worker"
    )
    vision_niceness: int = Field(10, ge=0, le=19, description="priority given up by vision")

    # Search and index
    boxes_indexed: int = Field(
        1,
        ge=0,
        le=3,
        description="best boxes of an image that can be found, beside the whole image; 0: the best"
        " box alone",
    )
    boxes_searched: int = Field(
        2,
        ge=1,
        le=10,
        description="best boxes of a query searched; with 2 or more, the whole picture, too",
    )
    search_seconds: float = Field(10.0, gt=0, description="a search answers within, or 10020")
    query_fetch_seconds: float = Field(3.0, gt=0, description="to fetch the URL of a query")
    shard_capacity: int = Field(100_000, ge=100, description="vectors of one hnswlib shard")
    snapshot_seconds: float = Field(
        300.0, gt=0, description="a set that changed is saved within, and a failed save tried again"
    )
    snapshot_changes: int = Field(
        5_000, ge=1, description="images added or deleted after which a set is saved at once"
    )
    compaction_share: float = Field(
        0.2, gt=0, lt=1, description="share of deleted images beyond which a shard is built anew"
    )
    compare_seconds: float = Field(
        600.0, gt=0, description="how often the index is compared with the rows in the background"
    )
    index_memory_bytes: int = Field(
        0, ge=0, description="vectors and links in memory beyond which idle sets go; 0: no limit"
    )

    @field_validator("data_dir", mode="before")
    @classmethod
    def _default_if_empty(cls, value: Any) -> Any:
        return value or "data"

    @model_validator(mode="before")
    @classmethod
    def _with_secrets_of_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        return with_files_read(values, file_variables(cls, PREFIX))

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if 0 < len(self.secret_key.get_secret_value()) < 32:
            raise ValueError("secret_key must have 32 characters or more")
        if self.lease_renewal_seconds >= self.lease_seconds:
            raise ValueError("lease_renewal_seconds must be less than lease_seconds")
        if self.visibility_seconds <= self.time_limit_seconds:
            raise ValueError("visibility_seconds must be more than time_limit_seconds")
        if not self.flower_password.get_secret_value().isascii():
            raise ValueError("flower_password must be plain ASCII, for the sake of browsers")
        if self.stalled_seconds < 2 * self.probe_seconds:
            raise ValueError("stalled_seconds must be at least twice probe_seconds")
        if self.body_bytes and 0 < self.clients_bytes < 2 * self.body_bytes:
            raise ValueError("clients_bytes must be at least twice body_bytes")
        if self.task_seconds < self.key_seconds:
            raise ValueError("task_seconds must not be less than key_seconds")
        if self.topk_default > self.topk_limit:
            raise ValueError("topk_default must not be more than topk_limit")
        if not all(port.isdecimal() and 0 < int(port) < 65536 for port in self.fetch_ports):
            raise ValueError("fetch_ports must be ports, separated by commas")
        return self


def known_variables() -> set[str]:
    """Return every variable that the settings are read from."""
    fields = {PREFIX + name.upper() for name in Settings.model_fields}
    return fields | set(file_variables(Settings, PREFIX).values()) | {SETTINGS_FILE_VARIABLE}


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings() -> Settings:
    """Read and check the settings, without looking for embedded servers.

    Raises SettingsError, with a one-line message, if a value can't be used, the named file is
    missing, or a variable with the prefix names no setting.
    """
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    path = Path(named or DEFAULT_SETTINGS_FILE)
    if named and not path.is_file():
        raise SettingsError(f"{SETTINGS_FILE_VARIABLE} names {path}, which is not a file")
    _require_known([name for name in os.environ if name.startswith(PREFIX)], "")
    try:
        values = read_settings_file(path)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    _require_known(values, f" in {path}")
    files = file_variables(Settings, PREFIX)
    set_by_variable = {name.upper() for name in os.environ}
    arguments: dict[str, Any] = {
        # A file that is named there is looked for beside the file of settings.
        name.removeprefix(PREFIX).lower(): str(path.parent / value)
        if value and name in files.values()
        else value
        for name, value in values.items()
        if name not in set_by_variable and name != SETTINGS_FILE_VARIABLE
    }
    arguments |= chosen_files(os.environ, files)
    try:
        return Settings(**arguments)
    except ValidationError as error:
        raise SettingsError("; ".join(_fault_line(fault) for fault in error.errors())) from error


def _require_known(names: Iterable[str], where: str) -> None:
    """Raise SettingsError if one of `names`, found at `where`, names no setting."""
    known = known_variables()
    unknown = []
    for name in sorted(set(names) - known):
        others = [one.removeprefix(PREFIX) for one in sorted(known)]
        alike = get_close_matches(name.removeprefix(PREFIX), others, 1)
        unknown.append(f"{name} (did you mean {PREFIX}{alike[0]}?)" if alike else name)
    if unknown:
        raise SettingsError(f"no such setting{where}: {', '.join(unknown)}")


def _fault_line(fault: Any) -> str:
    name = "".join(f"{PREFIX}{str(part).upper()}: " for part in fault["loc"][:1])
    text = str(fault["msg"]).removeprefix("Value error, ")
    for field in Settings.model_fields:  # rules over several settings name them as the code does
        text = re.sub(rf"\b{field}\b", PREFIX + field.upper(), text) if "_" in field else text
    return name + text


@cache
def settings() -> Settings:
    """Return the settings of this process, read once, with the URLs of embedded servers filled in.

    Ends the process by `refuse` if a value can't be used.
    """
    try:
        found = read_settings()
    except SettingsError as error:
        refuse(f"bad settings: {error}")
    return with_embedded_servers(found)


def with_embedded_servers(found: Settings) -> Settings:
    """Return settings with the URLs of a running stack's embedded servers where theirs are empty.

    Unchanged if no such stack runs on the data directory.
    """
    endpoints = read_endpoints(found.data_dir)
    if endpoints is None:
        return found
    embedded = {
        name: SecretStr(url)
        for name, url in asdict(endpoints).items()
        if not getattr(found, name).get_secret_value()
    }
    return found.model_copy(update=embedded)
