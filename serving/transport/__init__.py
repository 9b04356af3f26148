"""Bytes on a socket to calls of a handler, and back: our own gRPC server on uvloop, and grpcio's beside it."""
