"""Models of the Hugging Face hub by id: the local cache first, then the network, briefly."""

from __future__ import annotations

import os
from pathlib import Path

from avsr.errors import ModelError, SetupError

__all__ = ["snapshot"]

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
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
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = model.partition("@")
    chosen = {"repo_id": name, "revision": revision or None, "allow_patterns": _WANTED}
    try:
        folder = Path(snapshot_download(**chosen, local_files_only=True))
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            return folder
    except LocalEntryNotFoundError:
        pass
    if local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        raise SetupError(
            f"{name} is not in the local hub cache and the network may not be used",
            todo="Unset HF_HUB_OFFLINE and drop --local-files-only, or name a folder",
        )
    try:
        # One short question first: the download itself would try for most of a minute.
        HfApi().model_info(name, revision=revision or None, timeout=10)
        return Path(snapshot_download(**chosen))
    except HfHubHTTPError as error:
        raise ModelError(
            f"the hub does not give {model}: {str(error).splitlines()[0]}",
            todo="Check the id; a gated model needs 'hf auth login'",
        ) from error
    except Exception as error:  # the network's many exceptions have no common base
        raise SetupError(
            f"{name} is not in the local hub cache and the hub cannot be reached",
            where=type(error).__name__,
            todo="Set HF_HUB_OFFLINE=1 or --local-files-only to not even ask, or name a folder",
        ) from error
