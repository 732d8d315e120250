"""Which version answers a request: by a share of the keys, always the same one for the same key."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..errors import RunError, SettingError
from ..serving.observers import Route
from ..serving.opening import checked_name
from .deployment import Deployment, read_deployment
from .sampling import share_of

KEY = "x-shinso-key"
LOOK = 0.5  # seconds between two looks at deployment.json


class SplitRouter:
    """Several versions side by side, or shadows beside the first.

    Who is served stays with one version as long as shares stay: each key has a fixed place in [0, 1), and
    the last version takes its share from the end. A request without a key is sent anywhere.

    >>> router = SplitRouter(["a", "b"], [0.9, 0.1])
    >>> router.arm("anna") == router.arm("anna")
    True
    """

    def __init__(
        self, names: Sequence[str], shares: Sequence[float], shadows: Sequence[str] = (), salt: str = "split"
    ) -> None:
        if len(names) != len(shares) or not names or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise SettingError(f"Each of {len(names)} versions takes a share; received {list(shares)}.")
        self.names, self.shares, self.salt = tuple(names), tuple(shares), salt
        self.shadows = tuple((name, None) for name in shadows)

    def choose(self, name: str | None, version: str | None, headers: Mapping[str, str]) -> Route:
        """What was asked for by name; else the version in whose share the key lies."""
        key = headers.get(KEY)
        if name is not None:
            return Route(name, version, key=key)
        return Route(self.arm(key), None, self.shadows, key)

    def arm(self, key: str | None) -> str:
        """The version of a key."""
        place, end = share_of(key or secrets.token_hex(8), self.salt), 0.0
        for name, share in zip(self.names, self.shares, strict=True):
            end += share
            if place < end:
                return name
        return self.names[-1]


class DeploymentRouter:
    """As `deployment.json` says, which is read again when it changes; what is not loaded does not answer."""

    def __init__(self, folder: Path, first: str, loaded: Collection[str] = ()) -> None:
        self.folder = folder
        self.loaded: Collection[str] = loaded or (first,)
        self.problem = ""  # why the file is not followed
        self._state: Deployment | None = None
        self._looked = -1e9
        self._stamp: tuple[int, int] | None = None
        self._router = SplitRouter([first], [1.0])

    def choose(self, name: str | None, version: str | None, headers: Mapping[str, str]) -> Route:
        """See `SplitRouter.choose`."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self.look()
        return self._router.choose(name, version, headers)

    def look(self) -> None:
        """Follow the file, as far as what it names is loaded."""
        try:
            found = (self.folder / "deployment.json").stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._state, self._stamp = read_deployment(self.folder), stamp
        except (OSError, RunError) as error:
            self.problem = str(error)
            return
        if self._state is None:
            return
        missing = [name for name in _named(self._state) if checked_name(name) not in self.loaded]
        self.problem = f"not loaded: {', '.join(missing)}" if missing else ""
        if checked_name(self._state.live) in self.loaded:
            self._router = router_of(self._state, self.loaded)

    def missing(self, loaded: Collection[str]) -> list[tuple[str, Path]]:
        """Names and paths of what the file wants and the server has not loaded."""
        self.loaded = loaded
        self.look()
        named = _named(self._state) if self._state else []
        return [(checked_name(n), self.folder / n) for n in named if checked_name(n) not in loaded]


def router_of(state: Deployment, loaded: Collection[str]) -> SplitRouter:
    """The router that a deployment stands for."""
    live, candidate = checked_name(state.live), state.candidate
    if candidate is None or checked_name(candidate.version) not in loaded:
        return SplitRouter([live], [1.0])
    other = checked_name(candidate.version)
    if candidate.shadow:
        return SplitRouter([live], [1.0], [other])
    return SplitRouter([live, other], [1 - candidate.share, candidate.share])


def split_router(names: Sequence[str], split: str | None, *, shadow: bool) -> SplitRouter:
    """From the flags of `serve`: `--split 90:10`, or `--shadow` for all but the first.

    >>> split_router(["a", "b"], "90:10", shadow=False).shares
    (0.9, 0.1)
    """
    if shadow:
        if split is not None:
            raise SettingError("Give --split or --shadow: a shadow answers along with all requests.")
        return SplitRouter(names[:1], [1.0], names[1:])
    parts = (split or "1").split(":")
    try:
        weights = [float(part) for part in parts]
    except ValueError:
        weights = []
    if len(weights) != len(names) or not all(w >= 0 for w in weights) or not 0 < sum(weights) < 1e9:
        raise SettingError(
            f"--split gives each of the {len(names)} versions its share, as in 90:10; received {split!r}."
        )
    return SplitRouter(names, [weight / sum(weights) for weight in weights])


def _named(state: Deployment) -> list[str]:
    return [state.live, *([state.candidate.version] if state.candidate else [])]
