"""XML that may be hostile: no document type, no entities, bounded depth, nothing fetched."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from pyadmm.eda.parsers.source import Source

_MAX_DEPTH = 200
"""Nested deeper than any report: loops nest, modules and instances nest, but not like this."""


def parse_xml(source: Source) -> Element:
    """Root element of the document in ``source``.

    :raises ReportError: for XML that is broken, cut off, too deep, or declares a document type.
    """
    builder = TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            source.fail("XML", f"elements nest deeper than {_MAX_DEPTH}")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def doctype(*_: object) -> None:
        source.fail("XML", "declares a document type (entities), which no report does")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(source.text.encode("utf-8"), True)
    except expat.ExpatError as error:
        source.fail("XML", f"broken or cut off: {error}")
    return builder.close()
