"""What the tests of the documents share."""

import re

import pytest


@pytest.fixture(scope="session")
def our_nodes(server):
    """The pack's nodes as the host knows them, by id."""
    nodes = server.client().our_nodes()
    assert nodes
    return nodes


@pytest.fixture(scope="session")
def rows():
    """rows(page) -> the rows of a help page's tables that begin with an input's name, as {name: {column: cell}}.

    Long names have places where a line may end."""
    def rows(page):
        columns, found = [], {}
        for line in re.split(r"^## (?:Outputs|输出)$", page, flags=re.MULTILINE)[0].splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[0] in ("input", "输入"):
                columns = cells
            elif match := re.fullmatch(r"(?:`|<code>)(\w+)(?:`|</code>)", cells[0].replace("<wbr>", "")):
                found[match[1]] = dict(zip(columns, cells, strict=True))
        return found
    return rows
