"""What the page's server may be asked for, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from frontends.container import Limits

__all__ = ["ServeOptions", "page"]


@dataclass(frozen=True)
class ServeOptions:
    """Limits of a server.

    Args:
        host: address it listens on; whether it is this machine's alone decides which names a
            request may call the server by.
        media: what a clip may cost to read, as everywhere in this project.
        max_upload_bytes: of a file; None for the largest sound that `media` allows to be decoded.
        max_seconds: of a clip, which one worker reads while others wait; less where the model's
            tower of sound reads less at once.
        waiting: jobs that may wait for the worker, and uploads that may run.
        kept: clips held in memory; beyond them the one used longest ago is let go.
        idle_seconds: an upload that sends nothing for so long is given up.
    """

    host: str = "127.0.0.1"
    media: Limits = Limits()  # noqa: RUF009  (frozen)
    max_upload_bytes: int | None = None
    max_seconds: float = 30.0
    waiting: int = 8
    kept: int = 16
    idle_seconds: float = 30.0

    @property
    def upload_bytes(self) -> int:
        """The largest file that is taken."""
        if self.max_upload_bytes is None:
            return self.media.max_decoded_bytes
        return self.max_upload_bytes


def page() -> str:
    """The page itself: one HTML file with its style and script inside."""
    return resources.files("avsr.serve").joinpath("index.html").read_text(encoding="utf-8")
