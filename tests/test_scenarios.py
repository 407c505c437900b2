"""Every file in tests/scenarios, played through both decoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.decode.native import NativeDecoder
from tests.support.scenario import run

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("decoder", [NativeDecoder, FallbackDecoder], ids=["native", "fallback"])
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_scenario(path: Path, decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """What a scenario file says comes true."""
    run(path, decoder)
