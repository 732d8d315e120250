"""How the server is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `shinso serve` takes, checked."""

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    keys: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    deadline: float = 10.0  # seconds, where the request names none
    batch: int = 64  # most rows that are computed together
    queue: int = 512  # most rows that wait for one model
    max_body: float = 16.0  # MiB
    connections: int = 1000
    share: float = 0.5  # of the queue, and of the connections, that one client may have
    rate: float = 0.0  # requests a second of one client; 0: as many as it likes
    patience: float = 30.0  # seconds for the head of a request, and for its body, to arrive
    cors: tuple[str, ...] = ()
    folder: Path | None = None  # from which versions may be loaded over the network
    drain: float = 1.0  # seconds between "not ready" and the end of listening
    log_requests: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("port", self.port, 0, 65535), ("grpc-port", self.grpc_port or 0, 0, 65535),
            ("deadline", self.deadline, 0.001, 86_400), ("batch", self.batch, 1, 4096),
            ("queue", self.queue, 1, 1_000_000), ("max-body", self.max_body, 0.001, 4096),
            ("connections", self.connections, 1, 100_000), ("drain", self.drain, 0, 600),
            ("share", self.share, 0.001, 1), ("rate", self.rate, 0, 1e6),
            ("patience", self.patience, 0.01, 3600),
        ):  # fmt: skip
            if not low <= value <= high:
                raise SettingError(f"--{name} lies between {low:g} and {high:g}; received {value:g}.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingError("TLS needs both: --tls-cert FILE --tls-key FILE.")
        for path in (self.tls_cert, self.tls_key, self.keys):
            if path is not None and not path.is_file():
                raise SettingError(f"There is no file {path}.")

    @property
    def bytes(self) -> int:
        """The largest body that is read."""
        return int(self.max_body * 2**20)

    @property
    def local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return self.host in LOOPBACK
