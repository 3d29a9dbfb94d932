"""Entries on what is done to data on their way: ciphers, checksums and compressors, with the rate of one core."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hpcsim.catalog.entries import Entry, Span
from hpcsim.scenario.fields import Frozen, Quantity, Share

__all__ = ["DataMethod"]

Rate = Annotated[float, Quantity("data rate")]


class DataMethod(Entry):
    """A cipher, a checksum or a compressor. Rates are of one core and of data as they are before: not compressed, not encrypted."""

    catalog_kind: ClassVar[str] = "data-method"

    category: Literal["cipher", "hash", "codec", "inline"] = Field(description="what it does; inline is a cipher in a port or drive")
    core_bytes_per_s: Rate | None = Field(None, alias="rate", description="of one core, there; none where no core is needed")
    back_core_bytes_per_s: Rate | None = Field(None, alias="back", description="of one core, back; the same without it")
    ratio: Annotated[dict[str, Annotated[float, Share(0.1, 1000.0)]], Frozen] = Field(
        default_factory=dict, description="size before over size after, by what is compressed"
    )
    record_frac: Span = Field(0.0, alias="record", description="bytes that it adds on the way, over those of the data")
