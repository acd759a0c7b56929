"""What the options of `sfvopi call` mean, and which cannot be used: said before a call is placed, not after it.

Every function raises `typer.BadParameter`, which ends the command with status 2.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import typer

from shared.carrier.asking import judge_stream_url
from shared.cli import expectations
from shared.sfvopi.formats import AudioFormat, Codec

DEFAULT_RATE = 8000


def expectations_of(texts: Sequence[str]) -> list[str]:
    """The expected texts. Each has a word."""
    if empty := [text for text in texts if not expectations.plain(text)]:
        raise typer.BadParameter(f"--expect {empty[0]!r} has no word in it")
    return list(texts)


def check_url(url: str, *schemes: str) -> None:
    """Can a carrier ask it, or connect to it?"""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise typer.BadParameter(f"{url} is no URL ({error})") from None
    if parts.scheme not in schemes or "://" not in url:
        guess = f": did you mean http://{url}?" if "://" not in url else ""
        allowed = ", ".join(f"{scheme}://" for scheme in schemes)
        raise typer.BadParameter(f"{url} begins with none of {allowed}{guess}")
    if not host:
        raise typer.BadParameter(f"{url} names no host")
    if parts.scheme == "ws" and (why := judge_stream_url(url)):
        raise typer.BadParameter(f"{url} {why}")


def codec_of(name: str) -> Codec:
    """The codec of this name."""
    if name.upper() not in {str(codec) for codec in Codec}:
        raise typer.BadParameter(f"{name} is none of {', '.join(Codec)}")
    return Codec(name.upper())


def method_of(name: str) -> Literal["GET", "POST"]:
    """The method of all webhooks."""
    methods: dict[str, Literal["GET", "POST"]] = {"GET": "GET", "POST": "POST"}
    if name.upper() not in methods:
        raise typer.BadParameter(f"--method {name}: POST or GET")
    return methods[name.upper()]


def format_of(codec: Codec | None, sample_rate: int | None, *, is_stream: bool) -> AudioFormat | None:
    """The format of a stream URL; of an answer URL, the answer decides it."""
    if (codec or sample_rate) and not is_stream:
        raise typer.BadParameter("--codec and --sample-rate belong to a stream URL: else the answer decides")
    if sample_rate and not codec:
        raise typer.BadParameter("--sample-rate needs --codec")
    return AudioFormat(codec, sample_rate or DEFAULT_RATE) if codec else None


def recording_path(path: Path | None) -> str:
    """Where the recording goes; a place where none can be written is better found now than after the call."""
    if path is None:
        return ""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"--record {path}: {'it is a folder' if path.is_dir() else 'there is no such folder'}")
    return str(path)
