"""The tables of the durable record, and the questions asked of several of them at once."""

from __future__ import annotations

VERSION = 1
SCHEMA = """
CREATE TABLE signals (signal TEXT PRIMARY KEY, instruments TEXT NOT NULL, history BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE decisions (
  signal TEXT, release TEXT, session_ns INTEGER, decided_at_ns INTEGER NOT NULL, generation INTEGER NOT NULL,
  weight REAL NOT NULL, posture TEXT NOT NULL, status BLOB NOT NULL, scores BLOB NOT NULL,
  PRIMARY KEY (signal, release, session_ns)) WITHOUT ROWID;
CREATE TABLE outcomes (
  signal TEXT, session_ns INTEGER, returns BLOB NOT NULL, PRIMARY KEY (signal, session_ns)) WITHOUT ROWID;
CREATE TABLE results (
  signal TEXT, release TEXT, session_ns INTEGER, net REAL,
  PRIMARY KEY (signal, release, session_ns)) WITHOUT ROWID;
CREATE TABLE cells (
  signal TEXT, release TEXT, session_ns INTEGER, rows INTEGER NOT NULL, counts BLOB NOT NULL,
  PRIMARY KEY (signal, release, session_ns)) WITHOUT ROWID;
CREATE TABLE watched (
  signal TEXT, session_ns INTEGER, asked TEXT NOT NULL, rearmed TEXT NOT NULL, present TEXT NOT NULL,
  verdicts BLOB NOT NULL,
  PRIMARY KEY (signal, session_ns)) WITHOUT ROWID;
CREATE TABLE memories (signal TEXT, rule TEXT, memory BLOB NOT NULL, PRIMARY KEY (signal, rule)) WITHOUT ROWID;
CREATE TABLE actions (
  key TEXT PRIMARY KEY, signal TEXT NOT NULL, session_ns INTEGER NOT NULL, generation INTEGER NOT NULL,
  action BLOB NOT NULL, done TEXT) WITHOUT ROWID;
"""

# A session as one release saw it: its decision, the outcome, its cells and its recorded result, where there are.
PAST = """
SELECT w.session_ns, w.asked, w.rearmed, d.scores, o.returns, c.counts, r.net
FROM watched AS w
LEFT JOIN decisions AS d ON d.signal = w.signal AND d.session_ns = w.session_ns AND d.release = :release
LEFT JOIN outcomes AS o ON o.signal = w.signal AND o.session_ns = w.session_ns
LEFT JOIN cells AS c ON c.signal = w.signal AND c.session_ns = w.session_ns AND c.release = :release
LEFT JOIN results AS r ON r.signal = w.signal AND r.session_ns = w.session_ns AND r.release = :release
WHERE w.signal = :signal AND w.session_ns >= :since
ORDER BY w.session_ns
"""
RUN_START = """
SELECT min(session_ns) FROM watched
WHERE signal = :signal AND session_ns > (
  SELECT coalesce(max(session_ns), -1) FROM watched WHERE signal = :signal AND instr(asked, :release) = 0)
"""
