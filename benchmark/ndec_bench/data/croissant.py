"""A description of NDEC as it lies under a data root, in the Croissant format of MLCommons (JSON-LD, version 1.0).

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.data import known, layouts
from ndec_bench.data.registry import image_sets, licences, remote_files
from ndec_bench.data.trust import read_trust

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.data.trust import FileRecord

# The terms of the format in the order of its specification; those without an entry of their own are Croissant's.
_TERMS = (
    "@language @vocab citeAs column conformsTo cr rai data dataType dct equivalentProperty examples extract field "
    "fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 parentField path recordSet "
    "references regex repeated replace samplingRate sc separator source subField transform"
)
_OWN_TERMS: dict[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "sc": "https://schema.org/",
}
_CONTEXT = {term: _OWN_TERMS.get(term, f"cr:{term}") for term in _TERMS.split()}
_FORMATS = {"zip": "application/zip", "tar": "application/x-tar", "tar-chunk": "application/octet-stream"}
_NAMES = {
    ("ndec", "queries"): "queries",
    ("ndec", "negative-pairs"): "negative_pairs",
    ("disc21", "references"): "references",
    ("disc21", "training"): "training_images",
    ("disc21", "dev-queries"): "disc21_dev_queries",
    ("disc21", "final-queries"): "disc21_final_queries",
}
_ABOUT = {
    "queries": "49,252 queries: 25,000 of DISC21 dev II (Q25000 to Q49999) and 24,252 hard negatives.",
    "negative_pairs": "100,000 pairs to train on: a DISC21 training image and a look-alike that is no copy of it.",
    "references": "The 1,000,000 references of DISC21.",
    "training_images": "The 1,000,000 training images of DISC21.",
    "disc21_dev_queries": "The 50,000 dev queries of DISC21.",
    "disc21_final_queries": "The 50,000 final queries of DISC21.",
}
_DESCRIPTION = (
    "Benchmark for practical image copy detection. A query is an edited copy of one of 1,000,000 references, or it is "
    "not; 24,252 of the 49,252 queries are hard negatives, which look like a reference and are copies of nothing."
)
_CITE = (
    "@inproceedings{wang2023benchmark, title={A Benchmark and Asymmetrical-Similarity Learning for Practical Image "
    "Copy Detection}, author={Wang, Wenhao and Sun, Yifan and Yang, Yi}, booktitle={AAAI}, year={2023}}"
)


def croissant(root: Path) -> dict[str, object]:
    """Return the Croissant description of NDEC, with DISC21's images, as they lie under ``root``.

    Described is what is there. A digest is that of the trust file; the format demands one of every file, so a file of
    NDEC that was never verified here is named in the description and not described. Unpacked images are described as
    lying in their folder under the root, wherever they were taken in place.

    Raises
    ------
    DataError
        If the trust file or the record of folders is damaged.
    """
    trust = read_trust(root).files
    every = [file for file in remote_files() if file.dataset != "weights"]
    files = [file for file in every if file.key in trust and file.path(root).is_file()]
    absent = [file.name for file in every if file not in files and file.dataset == "ndec"]
    holders = {name: _holders(root, name, files) for name in _NAMES}
    sets = {name: found for name, found in holders.items() if found is not None}
    truth = [name for name in known.KNOWN["ndec"].files if name in {file.name for file in files}]
    described = {_NAMES[name] for name in sets}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "NDEC",
        "description": _DESCRIPTION
        + (f" Not verified here, and not described: {', '.join(absent)}." if absent else ""),
        "url": "https://github.com/WangWenhao0716/ASL",
        "license": [licences()[key].url for key in ("CC-BY-NC-4.0", "DISC21")],
        "citeAs": _CITE,
        "creator": [{"@type": "sc:Person", "name": name} for name in ("Wenhao Wang", "Yifan Sun", "Yi Yang")],
        "datePublished": "2023-06-26",
        "version": "1.0.0",
        "isLiveDataset": False,
        "keywords": ["image copy detection", "hard negatives", "DISC21", "ISC2021"],
        "distribution": [
            *(_file(file, trust[file.key]) for file in files),
            *(_images(name, found) for name, found in sets.items()),
        ],
        "recordSet": [
            *(_image_records(name) for name in sets),
            *([_truth_records(truth[0], described)] if truth else []),
        ],
        "rai:personalSensitiveInformation": "Photographs, from YFCC100M and elsewhere; people may be seen in them.",
        "rai:dataUseCases": "Research on image copy detection. Nothing may be trained or selected on the queries.",
    }


def _file(file: RemoteFile, trusted: FileRecord) -> dict[str, object]:
    entry: dict[str, object] = {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.sources[0].url,
        "contentSize": f"{trusted.bytes} B",
        "encodingFormat": _FORMATS.get(file.unpack, "text/csv"),
        "license": licences()[file.licence].url,
        "sha256": trusted.sha256,
    }
    if file.unpack == "tar-chunk":
        entry["description"] = "A raw piece of one tar archive: aa, ab and ac are read one after the other."
    return entry


def _holders(root: Path, name: tuple[str, str], files: list[RemoteFile]) -> list[str] | None:
    """Return the described archives that hold an image set; none if a folder does, None if nothing described does."""
    holding = layouts.find(root, *name)
    if holding is not None and holding.kind == "folder":
        return []
    return [file.name for file in files if (file.dataset, file.part) == name] or None


def _images(name: tuple[str, str], archives: list[str]) -> dict[str, object]:
    holders = [{"@id": archive} for archive in archives]
    entry: dict[str, object] = {
        "@type": "cr:FileSet",
        "@id": f"{_NAMES[name]}_images",
        "name": f"{_NAMES[name]}_images",
        "encodingFormat": "image/jpeg",
        "includes": "**/*.jpg" if holders else f"{image_sets()[name].folder}/**/*.jpg",
    }
    return entry | ({"containedIn": holders if len(holders) > 1 else holders[0]} if holders else {})


def _image_records(name: tuple[str, str]) -> dict[str, object]:
    record, images = _NAMES[name], image_sets()[name]
    source = {"fileSet": {"@id": f"{record}_images"}}
    pattern = rf"^({images.id})\.jpg$" if images.id else r"([0-9]+/[^/]+)\.[a-zA-Z]+$"
    return {
        "@type": "cr:RecordSet",
        "@id": record,
        "name": record,
        "description": _ABOUT[record],
        "key": {"@id": f"{record}/id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{record}/id",
                "name": "id",
                "description": "File name without its suffix" if images.id else "Folder and file name",
                "dataType": "sc:Text",
                "source": {
                    **source,
                    "extract": {"fileProperty": "filename" if images.id else "fullpath"},
                    "transform": {"regex": pattern},
                },
            },
            {
                "@type": "cr:Field",
                "@id": f"{record}/image",
                "name": "image",
                "description": "The picture",
                "dataType": "sc:ImageObject",
                "source": {**source, "extract": {"fileProperty": "content"}},
            },
        ],
    }


def _truth_records(file: str, described: set[str]) -> dict[str, object]:
    """Return the true pairs: one row per query, the reference empty where the query is a copy of nothing."""

    def column(own: str, about: str, points_to: str) -> dict[str, object]:
        target = {"references": {"field": {"@id": f"{points_to}/id"}}} if points_to in described else {}
        return {
            "@type": "cr:Field",
            "@id": f"ground_truth/{own}",
            "name": own,
            "description": about,
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": file}, "extract": {"column": own}},
            **target,
        }

    return {
        "@type": "cr:RecordSet",
        "@id": "ground_truth",
        "name": "ground_truth",
        "description": "Each query with the reference it was copied from; 44,243 are copies of nothing.",
        "key": {"@id": "ground_truth/query_id"},
        "field": [column("query_id", "Query", "queries"), column("reference_id", "Reference, or empty", "references")],
    }
