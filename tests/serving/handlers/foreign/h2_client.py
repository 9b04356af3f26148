"""The `h2` package as a client in a process of its own: `h2_client.py ADDRESS`. Asserts; else says nothing.

It judges what a server sends as strictly as the RFC does, and keeps to the server's settings and windows.
"""

from __future__ import annotations

import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
import numpy as np

from protos.signalbox.v1 import scorer_pb2

SCORE = "/signalbox.v1.Scorer/Score"
FIRST_WINDOW = 70  # bytes: answers come in pieces, as they are acknowledged


class Client:
    """One connection. content, fields, resets: by stream, as they came."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.content: dict[int, bytes] = {}
        self.fields: dict[int, dict[str, str]] = {}
        self.pongs = 0
        self.over: set[int] = set()
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: FIRST_WINDOW})
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def read(self) -> None:
        data = self.socket.recv(65_536)
        assert data, "the connection ended"
        for event in self.h2.receive_data(data):
            self.note(event)
        self.flush()

    def note(self, event: h2.events.Event) -> None:
        assert not isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset), event
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.fields.setdefault(event.stream_id, {}).update(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.content[event.stream_id] = self.content.get(event.stream_id, b"") + event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.over.add(event.stream_id)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1

    def ask(self, path: str, message: bytes) -> int:
        """Sends a whole request; its content in as many pieces as the server's windows ask for."""
        stream_id: int = self.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "here")]
        self.h2.send_headers(stream_id, [*fields, ("te", "trailers"), ("content-type", "application/grpc")])
        content = b"\0" + len(message).to_bytes(4, "big") + message
        while content:
            while not (room := self.h2.local_flow_control_window(stream_id)):
                self.flush()
                self.read()
            size = min(room, self.h2.max_outbound_frame_size, len(content))
            self.h2.send_data(stream_id, content[:size], end_stream=size == len(content))
            content = content[size:]
        return stream_id

    def wait(self, *stream_ids: int) -> None:
        self.flush()
        while not self.over.issuperset(stream_ids):
            self.read()


def what_it_answers(client: Client) -> None:
    rows = np.random.default_rng(7).normal(size=(50, 2)).astype("<f4")
    bodies = [scorer_pb2.ScoreRequest(signal="large_caps", features=row.tobytes()).SerializeToString() for row in rows]
    streams = [client.ask(SCORE, body) for body in bodies]
    client.h2.ping(b"12345678")
    client.wait(*streams)
    for stream, row in zip(streams, rows, strict=True):
        assert client.fields[stream]["grpc-status"] == "0", client.fields[stream]
        content = client.content[stream]
        assert (content[0], int.from_bytes(content[1:5], "big")) == (0, len(content) - 5)
        reply = scorer_pb2.ScoreReply.FromString(content[5:])
        assert np.frombuffer(reply.scores, "<f4")[0] == row[0] + np.float32(10) * row[1]
    assert client.pongs == 1


def what_is_long(client: Client) -> None:
    rows = np.ones((30_000, 2), "<f4")
    asked = scorer_pb2.ScoreRequest(signal="large_caps", features=rows.tobytes()).SerializeToString()
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
    stream = client.ask(SCORE, asked)
    client.wait(stream)
    reply = scorer_pb2.ScoreReply.FromString(client.content[stream][5:])
    assert np.frombuffer(reply.scores, "<f4").tolist() == [11.0] * len(rows)


def what_it_refuses(client: Client) -> None:
    stream = client.ask(SCORE, scorer_pb2.ScoreRequest(signal="small_caps").SerializeToString())
    client.wait(stream)
    said = client.fields[stream]
    assert (said["grpc-status"], said["signalbox-retry"]) == ("5", "0"), said
    assert said["grpc-message"].startswith("signal: expected one that is served here (large_caps)"), said
    assert stream not in client.content


def main(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connected:
        client = Client(connected)
        for part in (what_it_answers, what_is_long, what_it_refuses):
            part(client)
        client.h2.close_connection()
        client.flush()


if __name__ == "__main__":
    main(sys.argv[1])
