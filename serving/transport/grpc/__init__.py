"""gRPC's words on top of HTTP/2: which call a stream is, its messages, its deadline and how it ends."""
