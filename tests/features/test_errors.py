from __future__ import annotations

import inspect
import re

from features import errors
from features.errors import FeatureError


def test_the_tree_at_the_top_of_the_file_is_the_family() -> None:
    drawn = re.findall(r"(?:── |^    )(\w+Error)\b", inspect.getdoc(errors) or "", re.MULTILINE)
    family = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, FeatureError)]
    assert sorted(drawn) == sorted(each.__name__ for each in family)


def test_no_error_carries_a_transports_code() -> None:
    assert "grpc" not in inspect.getsource(errors)
    assert "http" not in inspect.getsource(errors)
