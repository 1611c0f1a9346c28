"""EsViTp, third in the matching track of ISC 2021 (team imgFp): a global descriptor, keypoints, and both together.

``esvitp`` is the global descriptor, ``esvitp-sift`` the submitted system, ``sift`` its branch of keypoints alone, which
needs no trained numbers. Facts from sun-xl/ISC2021 (MIT); the modules name the files. The weights of the descriptor
were never published, so neither it nor the submitted system has been run with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_baselines.base import check_cpu
from ndec_baselines.cards import model_cards, registrations
from ndec_baselines.esvitp.matching import KeypointMatcher
from ndec_baselines.esvitp.overlay import global_box

if TYPE_CHECKING:
    from ndec_baselines.base import LocalWeights, ModelCard
    from ndec_baselines.networks.inference import TorchBaseline

CARD, WHOLE_CARD, SIFT_CARD = (model_cards()[name] for name in ("esvitp", "esvitp-sift", "sift"))


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline | KeypointMatcher:
    """Return the global descriptor, or the submitted system with it, on ``device``."""
    from ndec_baselines.esvitp.network import describer

    return describer(weights, device) if card is CARD else KeypointMatcher(card, describer(weights, device))


def load_sift(card: ModelCard, weights: None, device: str) -> KeypointMatcher:
    """Return the branch of keypoints, which runs on the CPU only. Raises UsageError for another ``device``."""
    check_cpu(card.name, device)
    return KeypointMatcher(card)


BASELINES = {**registrations("esvitp", load, choose_box=global_box), **registrations("sift", load_sift)}
