#!/usr/bin/env python3
"""A training loop as there are many: a small network learns handwritten digits, on the processor.

    train.py [SECONDS]

Runs for about so many seconds (75), evaluates after every fifth epoch, and says how far it is over the Unix socket in
JOULEPRINT_JOB_SOCKET, where there is one. A line for each epoch: seconds since the start, epochs done, epochs in all,
CPU seconds used.
"""

import http.client
import json
import os
import socket
import sys
import time

BEGAN = time.monotonic()


class JobSocket(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(os.environ["JOULEPRINT_JOB_SOCKET"])


def progress(done, total):
    if "JOULEPRINT_JOB_SOCKET" in os.environ:
        job = JobSocket("job")
        job.request("PUT", "/api/v1/job/progress", json.dumps({"done": done, "total": total}))
        answer = job.getresponse()
        if answer.status >= 300:
            sys.exit(f"progress: {answer.status} {answer.read().decode()}")
        job.close()


def main():
    # Threads that wait for each other burn time of their own where the machine has other work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import numpy
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    wanted = float(sys.argv[1]) if len(sys.argv) > 1 else 75.0
    images, names = load_digits(return_X_y=True)
    chance = numpy.random.default_rng(1)
    # More of them, each a little another one.
    images = numpy.concatenate([images + chance.normal(0, 1, images.shape) for _ in range(2)]) / 16
    names = numpy.concatenate([names] * 2)
    train, test, train_names, test_names = train_test_split(images, names, random_state=1)
    model = MLPClassifier((128, 64), random_state=1)

    def epoch(batch=128):
        order = chance.permutation(len(train))
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            model.partial_fit(train[part], train_names[part], classes=range(10))

    # Two tell how many make up the time; they are of the run, as a first look at a model is.
    before = time.monotonic()
    epoch()
    epoch()
    total = max(100, int(wanted / ((time.monotonic() - before) / 2)))
    for done in range(total + 1):
        if done > 0:
            epoch()
            if done % 5 == 0:
                model.score(train, train_names)
        progress(done, total)
        used = sum(os.times()[:4])
        print(f"{time.monotonic() - BEGAN:.3f} {done} {total} {used:.3f}", flush=True)
    print(f"accuracy {model.score(test, test_names):.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
