"""HTTP/2 without a socket: bytes in, events and bytes out (RFC 9113, RFC 7541)."""
