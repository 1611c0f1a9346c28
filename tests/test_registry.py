"""The registry: every file once, with sources, sizes and terms; names as the sources spell them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import ndec_baselines
from ndec_bench.data import known
from ndec_bench.data.registry import find, image_sets, licences, pictures, remote_files, same_name, select
from ndec_bench.errors import UsageError

REVISION = "659e2db2063ded69b14f79a03ea382ebcf5777ce"


def test_every_file_has_a_place_of_its_own_and_known_terms() -> None:
    places = Counter(file.path(Path()) for file in remote_files())
    assert max(places.values()) == 1
    assert {file.licence for file in remote_files()} <= set(licences())
    assert {file.ground_truth for file in remote_files()} - {None} <= set(known.KNOWN)


def test_ndec_is_its_five_files_and_disc21s_images() -> None:
    names = [file.name for file in select("ndec")]
    assert names[:3] == ["public_ground_truth_h5.csv", "dev_ground_truth.csv", "query_images_h5.tar"]
    assert names[3:23] == [f"references_{n}.zip" for n in range(20)]
    assert names[23:26] == [f"negative_pair.tar.{letter}" for letter in ("aa", "ab", "ac")]
    assert names[26:] == [f"train_{n}.zip" for n in range(20)]


def test_disc21_is_42_archives_and_two_lists() -> None:
    files = select("disc21")
    assert len([file for file in files if file.unpack == "zip"]) == 42
    assert sum(file.images or 0 for file in files) == 2_100_000
    assert sum(file.bytes for file in files if file.unpack == "zip") == pytest.approx(350e9, rel=1e-3)
    assert [file.name for file in files if file.optional] == ["final_ground_truth.csv"]


def test_the_sources_are_the_published_ones() -> None:
    by_name = {file.name: file for file in remote_files()}
    chunk = by_name["negative_pair.tar.ab"]
    assert chunk.sources[0].url == (
        f"https://huggingface.co/datasets/WenhaoWang/ASL/resolve/{REVISION}/negative_pair.tar.ab"
    )
    assert (chunk.bytes, chunk.bytes_exact) == (40 * 2**30, False)
    assert by_name["public_ground_truth_h5.csv"].sources[0].address == "1ZrPNoa3mTAxl6lViVjNtN90i20VSuzJs"
    assert by_name["references_7.zip"].sources[0].url == (
        "https://dl.fbaipublicfiles.com/image_similarity_challenge/public/references_7.zip"
    )


def test_parts_are_asked_for_by_name() -> None:
    assert [file.part for file in select("ndec", ["queries"])] == ["queries"]
    assert {file.part for file in select("ndec", ["ground-truth"])} == {"ground-truth"}
    assert [file.name for file in select("weights", ["sscd_disc_mixup"])] == ["sscd_disc_mixup.torchscript.pt"]


@pytest.mark.parametrize(
    ("dataset", "parts", "message"),
    [
        ("imagenet", [], "no data set is called 'imagenet'; known: ndec, disc21"),
        ("ndec", ["dev-queries"], "ndec has no part 'dev-queries'; known: ground-truth, queries, references"),
        ("weights", [], "no name given; known: .*sscd_disc_mixup"),
        ("weights", ["nothing"], "weights has no part 'nothing'"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_known(dataset: str, parts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(dataset, parts)


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("refs_50k_3.zip", "references_3.zip"),
        ("refs_50k_03.zip", "references_3.zip"),
        ("refs_50k_13.zip", "references_13.zip"),
        ("REFS_50K_0.ZIP", "references_0.zip"),
        ("train_50k_19.zip", "train_19.zip"),
        ("dev_queries_50k_0.zip", "dev_queries.zip"),
        ("test_queries_50k_0.zip", "final_queries.zip"),
        ("dev_queries_groundtruth.csv", "dev_ground_truth.csv"),
        ("negative_pair.tar.ac", "negative_pair.tar.ac"),
    ],
)
def test_the_names_of_metas_page_are_the_same_files(published: str, ours: str) -> None:
    found = find(published)
    assert found is not None
    assert found.name == ours


@pytest.mark.parametrize("name", ["refs_50k_20.zip", "refs_50k_.zip", "refs_50k_3.tar", "", "references.zip"])
def test_other_names_are_nobodys(name: str) -> None:
    assert find(name) is None


def test_numbers_are_compared_not_spelt() -> None:
    assert same_name("a_01.zip", "a_1.zip")
    assert not same_name("a_01.zip", "a_10.zip")
    assert not same_name("a_²3.zip", "a_3.zip")


def test_image_sets_and_pictures() -> None:
    sets = image_sets()
    assert sets["ndec", "queries"].images == 25_000 + 24_252
    assert sets["disc21", "final-queries"].first == 50_000
    assert len(pictures()) == 15


def test_weights_are_named_by_the_baselines_that_need_them() -> None:
    assert [file.name for file in select("weights", ["cnncl"])] == ["isc_ft_v107.pth.tar"]
    chosen = select("weights", ["sscd:disc-blur", "sscd-disc-blur-320", "sscd_disc_blur"])
    assert [file.name for file in chosen] == ["sscd_disc_blur.torchscript.pt"]


def test_weights_and_cards_say_the_same() -> None:
    """What a card tells people to download can be downloaded, and is the file that the card means."""
    offered = {name: file for file in remote_files() if file.dataset == "weights" for name in file.baselines}
    cards = {name: ndec_baselines.card(name) for name in ndec_baselines.names()}
    for name, card in cards.items():
        told = card.weights is not None and f"ndec-bench download weights {name}" in card.weights.instruction
        shared = card.weights is not None and "ndec-bench download weights" in card.weights.instruction
        assert shared is (name in offered), name
        if card.weights is None or name not in offered:
            continue
        file, (stated,) = offered[name], card.weights.files
        assert told or file.part in card.weights.instruction
        assert (file.name, file.sha256) == (stated.name, stated.sha256)
        assert not file.bytes_exact or stated.size == file.bytes
        source = file.sources[0]
        assert stated.source in (source.url, f"gdrive:{source.address}")
