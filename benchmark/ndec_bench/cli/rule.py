"""The option ``--asymmetric``, shared by ``score`` and ``run``."""

from __future__ import annotations

from typing import Annotated

import typer

Asymmetric = Annotated[
    str,
    typer.Option(
        help="Asymmetric rule on the norms: none, ratio, ratio-after-list, hinge:L or tilt:L.", metavar="RULE"
    ),
]
