"""The Open Inference Protocol (version 2) over gRPC: what unmodified clients of other servers speak.

tritonclient and kserve each bring a proto of package `inference`, and a descriptor pool takes a name once. So the
generated code has a pool of its own in place of the default one; `make protos` puts it in.
"""
