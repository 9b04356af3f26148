"""The library's features in words: the table of docs/features.md and the identities behind their aliases.

python -m features.describe        # `make features-docs`: writes both anew from the declarations
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import groupby
from pathlib import Path

from features.definition import Feature
from features.errors import RegistryError
from features.registry import IDENTITIES, built_in, pinned_identities

PAGE = Path(__file__).resolve().parents[1] / "docs" / "features.md"
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"
_HEAD = ("feature", "what it is", "formula", "source", "reads", "rows", "unit", "tested on")


def tables(features: Iterable[Feature]) -> str:
    """One Markdown table per module of features, under the first line of the module's docstring."""
    parts = []
    for module, group in groupby(sorted(features, key=_module), key=_module):
        headline = (inspect.getdoc(import_module(module)) or "").partition("\n")[0]
        rows = [_cells(each) for each in group]
        lines = [" | ".join(each) for each in (_HEAD, ["---"] * len(_HEAD), *rows)]
        parts.append(f"### `{module}`\n\n{headline}\n\n" + "\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(parts)


def with_tables(page: str, features: Iterable[Feature]) -> str:
    """The page with its tables written anew, between the two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables(features)}\n{END}{after}"


def pin(features: Iterable[Feature], pinned: Mapping[str, str]) -> dict[str, str]:
    """The identity behind each alias `name@vN`, those of before and those that are new.

    RegistryError when a feature's identity is no longer that of its alias: what a name and a version mean does not
    change, so raise the version.
    """
    known = dict(pinned)
    for each in features:
        if known.setdefault(each.alias, each.identity) != each.identity:
            raise RegistryError(
                f"feature {each.alias}: expected identity {known[each.alias]}, found {each.identity}; it computes or "
                f"declares something else than version {each.version} did: raise its version"
            )
    return dict(sorted(known.items()))


def _module(feature: Feature) -> str:
    return feature.kernel.__module__


def _cells(feature: Feature) -> list[str]:
    rows = {
        "window": f"{feature.window}",
        "exact_accum": f"{feature.window}, exact sums of {feature.contribution_rows} each",
        "scan": f"scan from the {feature.anchor}",
        "cross_section": f"across the {feature.universe}, at the {feature.cut_off}",
    }[feature.kind]
    if feature.span_ns is not None:
        rows = f"{feature.span_ns // 10**9} s, at most {feature.window}"
    if feature.min_rows < feature.window:
        rows += f"; at least {feature.min_rows}"
    read = ", ".join(f"`{each}`" for each in feature.read_names)
    words = (feature.description, feature.formula, feature.source, read)
    texts = [f"`{feature.alias}`", *words, rows, feature.unit, feature.tested_on]
    return [text.replace("|", "\\|") for text in texts]


def main() -> None:
    """Writes the page's tables and the identities."""
    features = built_in().values()
    IDENTITIES.write_text(json.dumps(pin(features, pinned_identities()), indent=1) + "\n")
    PAGE.write_text(with_tables(PAGE.read_text(), features))


if __name__ == "__main__":
    main()
