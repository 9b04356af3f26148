"""LightGBM's trees as an ONNX tree ensemble that takes the same branch for every float32.

LightGBM compares a double with a double threshold; ONNX compares float32. A float32 x is ≤ a double t exactly when it
is ≤ the largest float32 that is ≤ t, so thresholds are rounded down, never to nearest: rounding to nearest sends the
one float32 between t and its nearest neighbour down the other branch. And LightGBM reads every |x| ≤ 1e-35 as 0, so a
threshold within that is moved to the edge that gives those x the branch of 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from training.errors import ExportError
from training.trainer import Fragment

OBJECTIVES = ("regression", "regression_l1", "huber", "lambdarank", "rank_xendcg")  # their raw sum is the answer
ZERO = np.float32(1e-35)  # LightGBM's kZeroThreshold (include/LightGBM/meta.h)
LEAF = "LEAF"
BRANCH = "BRANCH_LEQ"


@dataclass(frozen=True)
class Node:
    """One node. A leaf has column 0, threshold 0 and a weight; a branch sends x ≤ threshold, and perhaps NaN, left."""

    mode: str
    column: int = 0
    threshold: float = 0.0
    left: int = 0
    right: int = 0
    missing_left: bool = False
    weight: float = 0.0


Tree = tuple[Node, ...]  # node 0 is the root; left and right are positions


def read_trees(dump: Mapping[str, Any]) -> tuple[Tree, ...]:
    """The trees of `Booster.dump_model()`. Raises ExportError that names what cannot be exported exactly."""
    objective = str(dump.get("objective", "")).split(" ")[0]
    if objective not in OBJECTIVES:
        raise ExportError(f"expected an objective among {OBJECTIVES}, found {objective!r}; its answer is transformed")
    if dump["num_tree_per_iteration"] != 1 or dump.get("average_output"):
        raise ExportError("expected one summed tree a round, found several classes or averaged trees")
    return tuple(_read_tree(info["tree_structure"]) for info in dump["tree_info"])


def branch_values(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The float32 values for which x ≤ value exactly where LightGBM takes the left branch, for every float32 x."""
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    floors = np.where(nearest > thresholds, below, nearest)
    snapped = np.where(thresholds < 0, np.nextafter(-ZERO, np.float32(-np.inf)), ZERO)
    return np.where(np.abs(thresholds) <= ZERO, snapped, floors).astype(np.float32)


def split_values(trees: Sequence[Tree]) -> dict[int, NDArray[np.float64]]:
    """Column → its split values, ascending and distinct: float64 [k]."""
    by_column: dict[int, list[float]] = {}
    for node in (node for tree in trees for node in tree if node.mode == BRANCH):
        by_column.setdefault(node.column, []).append(node.threshold)
    return {column: np.unique(values) for column, values in sorted(by_column.items())}


def ensemble(trees: Sequence[Tree]) -> Fragment:
    """One TreeEnsembleRegressor (ai.onnx.ml 3) from `features` to `raw`; leaf weights and their sum are float32."""
    placed = [(tree, at, node) for tree, nodes in enumerate(trees) for at, node in enumerate(nodes)]
    leaves = [(tree, at, node) for tree, at, node in placed if node.mode == LEAF]
    thresholds = branch_values(np.array([node.threshold for _, _, node in placed]))
    regressor = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["raw"],
        name="trees",
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=[tree for tree, _, _ in placed],
        nodes_nodeids=[at for _, at, _ in placed],
        nodes_featureids=[node.column for _, _, node in placed],
        nodes_modes=[node.mode for _, _, node in placed],
        nodes_values=[float(value) for value in thresholds],
        nodes_truenodeids=[node.left for _, _, node in placed],
        nodes_falsenodeids=[node.right for _, _, node in placed],
        nodes_missing_value_tracks_true=[int(node.missing_left) for _, _, node in placed],
        target_treeids=[tree for tree, _, _ in leaves],
        target_nodeids=[at for _, at, _ in leaves],
        target_ids=[0] * len(leaves),
        target_weights=[node.weight for _, _, node in leaves],
    )
    return Fragment((regressor,))


def _read_tree(structure: Mapping[str, Any]) -> Tree:
    """Nodes in pre-order: a left child directly follows its parent."""
    return tuple(_walk(structure, 0))


def _walk(structure: Mapping[str, Any], at: int) -> Iterator[Node]:
    if "leaf_value" in structure:
        yield Node(LEAF, weight=float(structure["leaf_value"]))
        return
    left = list(_walk(structure["left_child"], at + 1))
    right = at + 1 + len(left)
    yield _branch(structure, left=at + 1, right=right)
    yield from left
    yield from _walk(structure["right_child"], right)


def _branch(structure: Mapping[str, Any], *, left: int, right: int) -> Node:
    if structure["decision_type"] != "<=":
        raise ExportError("expected numeric splits, found a categorical one; train without categorical features")
    if structure["missing_type"] == "Zero":
        raise ExportError("expected zero to be a number, found zero_as_missing; train without it")
    threshold = float(structure["threshold"])
    # missing_type None: LightGBM reads NaN as 0
    missing_left = structure["default_left"] if structure["missing_type"] == "NaN" else threshold >= 0.0
    return Node(BRANCH, int(structure["split_feature"]), threshold, left, right, bool(missing_left))
