"""Files of another kind than expected: what each reader says they are, and what to do."""

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ndec_bench.data.ground_truth import read_ground_truth
from ndec_bench.data.images import open_images
from ndec_bench.descriptors.hdf5 import open_file
from ndec_bench.errors import DataError, NdecBenchError
from ndec_bench.file_kind import kind_of
from ndec_bench.matches import read_pairs
from ndec_bench.results.record import read_result
from ndec_bench.submissions.card import read_card

CSV = "query_id,reference_id,score\nQ1,R1,0.5\n"


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, query=np.ones(3))
    return buffer.getvalue()


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"1")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


FILES = {
    "empty": b"",
    "page": b"\xef\xbb\xbf <!doctype html>",
    "gzip": gzip.compress(CSV.encode()),
    "tar.gz": gzip.compress(_tar()),
    "tar": _tar(),
    "zip": _zip("a.jpg"),
    "npz": _npz(),
    "npy": _npy(),
    "torch": _zip("archive/data.pkl"),
    "office": _zip("[Content_Types].xml"),
    "pickle": pickle.dumps({"a": 1}),
    "safetensors": (16).to_bytes(8, "little") + b'{"a": {"dtype"  ',
    "arrow": b"ARROW1\0\0",
    "parquet": b"PAR1....",
    "hdf5": b"\x89HDF\r\n\x1a\n....",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "utf-16": CSV.encode("utf-16"),
    "xz": b"\xfd7zXZ\0....",
}
READERS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "pairs": (read_pairs, {"parquet", "empty"}),
    "ground truth": (read_ground_truth, {"empty"}),
    "descriptors": (open_file, {"hdf5"}),
    "result": (read_result, set()),
    "card": (read_card, {"empty"}),
    "images": (open_images, {"zip", "npz", "torch", "office", "tar"}),
}


@pytest.mark.parametrize("name", FILES)
def test_kinds_are_told_by_the_first_bytes(name: str) -> None:
    found = kind_of(FILES[name])
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("content", [b"Q1,R1\n", b"{}", b'name = "x"\n', b"\x1f", b"a\0", b"\x00" * 600, b"\x80\x7f"])
def test_text_and_unknown_bytes_have_no_kind(content: bytes) -> None:
    assert kind_of(content) is None


def test_utf_16_is_told_without_its_mark() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        found = kind_of(CSV.encode(encoding))
        assert found is not None
        assert found.name == "utf-16"


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_what_the_file_is(tmp_path: Path, reader: str) -> None:
    read, accepted = READERS[reader]
    for name in FILES.keys() - accepted:
        path = tmp_path / name
        path.write_bytes(FILES[name])
        kind = kind_of(FILES[name])
        assert kind is not None
        with pytest.raises(NdecBenchError) as caught:
            read(path)
        assert caught.value.message.startswith(f"{path}: {kind.what}, expected ")
        assert caught.value.hint
        assert kind.advice in (None, caught.value.hint)


def test_a_card_and_a_result_may_begin_with_the_mark_of_utf_8(tmp_path: Path) -> None:
    repository = Path(__file__).parents[1]
    card, result = repository / "submissions", repository / "results"
    for source, read in ((next(card.glob("*/*.toml")), read_card), (next(result.glob("*/*.json")), read_result)):
        marked = tmp_path / source.name
        marked.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
        assert read(marked) == read(source)


def test_weights_of_another_kind_are_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from ndec_baselines.networks.checkpoints import read_checkpoint

    path = tmp_path / "weights.pth"
    for name in FILES.keys() - {"torch", "pickle", "zip", "tar"}:
        path.write_bytes(FILES[name])
        with pytest.raises(DataError, match=r", expected a checkpoint of torch\.save; "):
            read_checkpoint(path)
