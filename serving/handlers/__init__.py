"""What a worker answers, whatever transport brought the question: bytes in, bytes out."""
