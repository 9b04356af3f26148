"""The errors of training. Each says what was expected, what was found and what to do next.

TrainingError
├── SamplesError    panel, features and signal do not fit together, or there is too little history: fix the input
├── FoldError       no walk-forward can be cut from these label intervals: more history, or a later first test
├── TrainerError    an unknown trainer or parameter, or rows it cannot learn from: fix the sweep's plan
├── ExportError     the model has no exact ONNX form: train without the named option
├── ParityError     the exported model answers differently from the native one: the export is wrong, do not ship it
├── RunError        a run's directory is missing, incomplete or altered: train again
└── HandoverError   a handed-over model or its declaration is incomplete: complete what is named
"""

from __future__ import annotations


class TrainingError(ValueError):
    """Anything that training refuses."""


class SamplesError(TrainingError):
    """Panel, features and signal do not fit together."""


class FoldError(TrainingError):
    """No fold can be cut."""


class TrainerError(TrainingError):
    """A trainer that is not known, or a parameter it does not have."""


class ExportError(TrainingError):
    """The model cannot be written as ONNX without changing its answers."""


class ParityError(TrainingError):
    """The exported model and the native one disagree."""


class RunError(TrainingError):
    """A run on disk is missing, incomplete or altered."""


class HandoverError(TrainingError):
    """A model from outside cannot be taken over as it was given."""
