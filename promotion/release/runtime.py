"""ONNX Runtime, told to keep to itself. All rooms take `onnxruntime` from this module; it is imported nowhere else.

From 1.31 on, the wheels for Linux collect telemetry: they keep a database of sessions under the user's cache folder and
try to send it away. What a fund runs is its secret, and the runtime decides when it is first imported.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as onnxruntime  # after the line above, or it is too late
