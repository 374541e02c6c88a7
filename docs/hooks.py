"""MkDocs hook: the page of the command line is made from the commands themselves."""

from __future__ import annotations

from typing import Any

from pyadmm.cli.main import COMMANDS, command, usage

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of every command where a page has :data:`MARK`."""
    if MARK not in markdown:
        return markdown
    parts = [_block(usage())]
    parts += [
        f"## pyadmm {name}\n\n{_block(command(name).parser().format_help())}" for name in COMMANDS
    ]
    return markdown.replace(MARK, "\n\n".join(parts))


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
