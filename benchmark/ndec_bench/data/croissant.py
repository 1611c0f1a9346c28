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

    from ndec_bench.data.registry import ImageSet, RemoteFile

_CONTEXT: dict[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
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
_CITE = (
    "@inproceedings{wang2023benchmark, title={A Benchmark and Asymmetrical-Similarity Learning for Practical Image "
    "Copy Detection}, author={Wang, Wenhao and Sun, Yifan and Yang, Yi}, booktitle={AAAI}, year={2023}}"
)


def croissant(root: Path) -> dict[str, object]:
    """Return the Croissant description of NDEC and the images it needs, as they lie under ``root``.

    Described is what is there, and NDEC's own files and the references even where they are not. A digest is that of
    the registry or of the trust file. A file that was never at hand has none, which the format demands: it is described
    without, and its ``description`` says so, rather than with an invented one.

    Raises
    ------
    DataError
        If the trust file or the record of folders is damaged.
    """
    trust = read_trust(root).files
    sets = [name for name in _NAMES if name[0] == "ndec" or name[1] == "references" or layouts.find(root, *name)]
    parts = {*sets, ("ndec", "ground-truth"), ("disc21", "dev-ground-truth")}
    files = [file for file in remote_files() if (file.dataset, file.part) in parts]
    digests = {
        file.name: file.sha256 or getattr(trust.get(f"{file.dataset}/{file.name}"), "sha256", None) for file in files
    }
    sizes = {file.name: getattr(trust.get(f"{file.dataset}/{file.name}"), "bytes", None) for file in files}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "NDEC",
        "description": (
            "Benchmark for practical image copy detection. A query is an edited copy of one of 1,000,000 references, "
            "or it is not; 24,252 of the 49,252 queries are hard negatives, which look like a reference and are copies "
            "of nothing."
        ),
        "url": "https://github.com/WangWenhao0716/ASL",
        "license": [licences()[key].url for key in sorted({file.licence for file in files})],
        "citeAs": _CITE,
        "creator": [{"@type": "sc:Person", "name": name} for name in ("Wenhao Wang", "Yifan Sun", "Yi Yang")],
        "datePublished": "2023-06-26",
        "version": "1.0.0",
        "isLiveDataset": False,
        "keywords": ["image copy detection", "hard negatives", "DISC21", "ISC2021"],
        "distribution": [
            *(_file(file, digests[file.name], sizes[file.name]) for file in files),
            *(_images(name, files) for name in sets),
        ],
        "recordSet": [*(_image_records(name) for name in sets), _truth_records()],
        "rai:personalSensitiveInformation": "Photographs, from YFCC100M and elsewhere; people may be seen in them.",
        "rai:dataUseCases": "Research on image copy detection. Nothing may be trained or selected on the queries.",
    }


def _file(file: RemoteFile, digest: str | None, size: int | None) -> dict[str, object]:
    entry: dict[str, object] = {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.sources[0].url,
        "contentSize": f"{size or file.bytes} B",
        "encodingFormat": _FORMATS.get(file.unpack, "text/csv"),
        "license": licences()[file.licence].url,
    }
    notes = [] if file.bytes_exact or size else ["The size is an estimate."]
    if digest is None:
        notes.append("No digest is published, and the file was not at hand when this was written.")
    else:
        entry["sha256"] = digest
    if file.unpack == "tar-chunk":
        notes.append("A raw piece of one tar archive: aa, ab and ac are read one after the other.")
    return entry | ({"description": " ".join(notes)} if notes else {})


def _images(name: tuple[str, str], files: list[RemoteFile]) -> dict[str, object]:
    holders = [{"@id": file.name} for file in files if (file.dataset, file.part) == name]
    return {
        "@type": "cr:FileSet",
        "@id": f"{_NAMES[name]}_images",
        "name": f"{_NAMES[name]}_images",
        "containedIn": holders if len(holders) > 1 else holders[0],
        "encodingFormat": "image/jpeg",
        "includes": "**/*.jpg",
    }


def _image_records(name: tuple[str, str]) -> dict[str, object]:
    record, images = _NAMES[name], image_sets()[name]
    source = {"fileSet": {"@id": f"{record}_images"}}
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
                    "transform": {"regex": _id_pattern(images)},
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


def _id_pattern(images: ImageSet) -> str:
    return rf"^({images.id})\.jpg$" if images.id else r"([0-9]+/[^/]+)\.[a-zA-Z]+$"


def _truth_records() -> dict[str, object]:
    """Return the true pairs: one row per query, the reference empty where the query is a copy of nothing."""
    (name,) = known.KNOWN["ndec"].files

    def column(own: str, about: str, points_to: str) -> dict[str, object]:
        return {
            "@type": "cr:Field",
            "@id": f"ground_truth/{own}",
            "name": own,
            "description": about,
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": name}, "extract": {"column": own}},
            "references": {"field": {"@id": f"{points_to}/id"}},
        }

    return {
        "@type": "cr:RecordSet",
        "@id": "ground_truth",
        "name": "ground_truth",
        "description": "Each query with the reference it was copied from; 44,243 are copies of nothing.",
        "key": {"@id": "ground_truth/query_id"},
        "field": [
            column("query_id", "Query", "queries"),
            column("reference_id", "Reference, or empty", "references"),
        ],
    }
