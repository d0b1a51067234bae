"""Models of the Hugging Face hub by id: the local cache first, then the network, briefly."""

from __future__ import annotations

import os
from pathlib import Path

from avsr.errors import ModelError, SetupError

__all__ = ["snapshot"]

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_BUSY = {408, 429, 500, 502, 503, 504}  # HTTP: not now, as opposed to not at all
_OFFLINE = {"1", "ON", "TRUE", "YES"}


def snapshot(model: str, *, local_files_only: bool = False) -> Path:
    """Return the folder of a hub model; pickles and code are not fetched.

    Args:
        model: `org/name` or `org/name@revision`.
        local_files_only: never touch the network; `HF_HUB_OFFLINE=1` does the same.

    Raises:
        ModelError: the hub has no such model, or does not give it to this user.
        SetupError: not in the cache and the hub cannot be reached, or may not be asked.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = model.partition("@")

    def fetch(*, local_files_only: bool) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=_WANTED,
                ignore_patterns=["*/*"],  # other formats of the same weights
                local_files_only=local_files_only,
            )
        )

    try:
        folder: Path | None = fetch(local_files_only=True)
    except HFValidationError as error:
        raise ModelError(f"not a hub id: {error}", where=model) from error
    except LocalEntryNotFoundError as error:
        # Incomplete as a copy of the hub's folder may still be complete as a model.
        found = getattr(error, "snapshot_path", None)
        folder = Path(found) if found else None
    if folder is not None and _is_whole(folder):
        return folder
    told = os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE or constants.HF_HUB_OFFLINE
    if local_files_only or told:
        raise SetupError(
            f"{name} is no folder here nor in the local hub cache, and the network may not be used",
            todo="Unset HF_HUB_OFFLINE and drop --local-files-only, or name a folder",
        )
    try:
        # One short question first: the download itself would try for most of a minute.
        HfApi().model_info(name, revision=revision or None, timeout=10)
        return fetch(local_files_only=False)
    except HfHubHTTPError as error:
        if error.response.status_code in _BUSY:
            raise _unreachable(name, f"HTTP {error.response.status_code}") from error
        raise ModelError(
            f"the hub does not give {model}: {next(iter(str(error).splitlines()), '')}",
            todo="Check the id; a gated model needs 'hf auth login'",
        ) from error
    except Exception as error:  # the network's many exceptions have no common base
        raise _unreachable(name, type(error).__name__) from error


def _unreachable(name: str, why: str) -> SetupError:
    return SetupError(
        f"{name} is no folder here nor in the local hub cache, and the hub cannot be reached",
        where=why,
        todo="Set HF_HUB_OFFLINE=1 or --local-files-only to not even ask, or name a folder",
    )


def _is_whole(folder: Path) -> bool:
    """Say whether a snapshot holds a model: a download that was cut leaves part of one."""
    from avsr.weights import weight_files

    try:
        return (folder / "config.json").is_file() and bool(weight_files(folder))
    except ModelError:
        return False
