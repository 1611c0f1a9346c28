"""A page of image pairs that a result gets wrong, with the pictures inside: for its maker's eyes, never for the site.

The public site carries ids and scores alone. Images of DISC21 and NDEC must not be published, so this page is one file
without an address, says so at its top, and is not written into the folder of a site.
"""

from ndec_bench.gallery.lists import ResultList, check_split, read_list
from ndec_bench.gallery.page import GalleryReport, about_size, check_private, plan_gallery, write_gallery
from ndec_bench.gallery.rows import Gallery, Reference, Row, Section, Side

__all__ = [
    "Gallery",
    "GalleryReport",
    "Reference",
    "ResultList",
    "Row",
    "Section",
    "Side",
    "about_size",
    "check_private",
    "check_split",
    "plan_gallery",
    "read_list",
    "write_gallery",
]
