"""The kubelet's PodResources service on a Unix socket, by grpcio and protobuf.

Argument: the socket. Orders are read line by line: a JSON object is the whole answer from now on, `down` ends the server
and removes the socket, `up` starts it again. Each is answered by `done` and how often the service was asked so far.
"""

import os
import sys
import tempfile
from concurrent import futures

import grpc
from google.protobuf import json_format
from grpc_tools import protoc

here = os.path.dirname(os.path.abspath(__file__))
made = tempfile.mkdtemp()
if protoc.main(["protoc", f"-I{here}", f"--python_out={made}", f"--grpc_python_out={made}", "podresources.proto"]):
    sys.exit("podresources.py: protoc refuses podresources.proto")
sys.path.insert(0, made)
import podresources_pb2 as messages  # noqa: E402
import podresources_pb2_grpc as service  # noqa: E402

socket = sys.argv[1]


class Lister(service.PodResourcesListerServicer):
    answer = messages.ListPodResourcesResponse()
    asked = 0

    def List(self, request, context):
        self.asked += 1
        return self.answer


lister = Lister()


def start():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    service.add_PodResourcesListerServicer_to_server(lister, server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


server = start()
for line in sys.stdin:
    order = line.strip()
    if order == "down":
        server.stop(0).wait()
        if os.path.exists(socket):
            os.unlink(socket)
    elif order == "up":
        server = start()
    elif order:
        lister.answer = json_format.Parse(order, messages.ListPodResourcesResponse())
    print(f"done {lister.asked}", flush=True)
