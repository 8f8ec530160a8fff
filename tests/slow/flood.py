#!/usr/bin/env python3
"""A job that is no friend of the socket: `flood.py SOCKET COUNT` opens so many connections at once, of which a quarter
each says nothing more, sends garbage, sends too much, and says its progress. Prints how many got which status."""

import collections
import json
import socket
import sys
import threading

PATH, COUNT = sys.argv[1], int(sys.argv[2])
statuses = collections.Counter()
lock = threading.Lock()


def request(method, path, body, length=None):
    head = f"{method} {path} HTTP/1.1\r\nHost: job\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


def client(number):
    progress = json.dumps({"done": number, "total": COUNT}).encode()
    what = [
        b"PUT /api/v1/job/progress HTTP/1.1\r\nHost: job\r\n",
        b"\x16\x03\x01\xff\xfe" * 50,
        request("PUT", "/api/v1/job/progress", b"x" * (200 << 10)),
        request("PUT", "/api/v1/job/progress", progress),
    ][number % 4]
    status = "none"
    try:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(60)
        stream.connect(PATH)
        try:
            stream.sendall(what)
        except OSError:
            pass
        said = stream.recv(64)
        if said.startswith(b"HTTP/1.1 "):
            status = said[9:12].decode()
    except OSError as error:
        status = type(error).__name__
    with lock:
        statuses[f"{number % 4} {status}"] += 1


threads = [threading.Thread(target=client, args=(number,)) for number in range(COUNT)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(statuses, sort_keys=True))
