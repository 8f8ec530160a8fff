"""A BMC on 127.0.0.1 with DCMI power, by pyghmi's own RMCP+ server.

Arguments: port, user, password, cipher suite (3 or 17). Orders are read line by line: `watts 245`, `average 235`, `active 0`,
`code 0xc1` (refuse with it), `silent 1`, `frozen 1` (its clock stands). Prints `ready`, then each login and logout.
"""

import hashlib
import hmac
import os
import struct
import sys
import threading
import time

from pyghmi.ipmi import bmc
from pyghmi.ipmi.private import serversession, session

state = {"watts": 245, "average": 235, "active": 1, "code": 0, "silent": 0, "frozen": 0}


def say(text):
    print(text, flush=True)


class Bmc(bmc.Bmc):
    def handle_raw_request(self, request, answers):
        data = bytes(request["data"])
        if request["netfn"] != 0x2C or data[:1] != b"\xdc":
            return super().handle_raw_request(request, answers)
        if state["silent"]:
            return None
        if state["code"]:
            return answers.send_ipmi_response(code=state["code"])
        if request["command"] == 1:
            return answers.send_ipmi_response(data=[0xDC, 1, 5, 2, 0, 1, 7])
        if request["command"] == 2:
            now = 1 if state["frozen"] else int(time.time())
            statistics = struct.pack(
                "<HHHHIIB", state["watts"], 100, 400, state["average"], now, 10_000, state["active"] << 6
            )
            return answers.send_ipmi_response(data=[0xDC, *statistics])
        return answers.send_ipmi_response(code=0xC1)


class Session(serversession.ServerSession):
    """The server knows suite 3 alone; 17 differs from it in the hash and in what is cut off of it."""

    def create_open_session_response(self, request):
        response = super().create_open_session_response(request)
        if suite == 17:
            if request[12] != 3:
                return bytearray([request[0], 4])
            response[16], response[24] = 3, 4
            self.currhashlib, self.currhashlen = hashlib.sha256, 16
        return response

    def _send_rakp4(self, tag, status):
        say("login")
        if suite == 3:
            return super()._send_rakp4(tag, status)
        proof = hmac.new(self.sik, bytes(self.Rm + self.managedsessionid + self.uuiddata), hashlib.sha256)
        self.send_payload(
            bytearray([tag, status, 0, 0]) + self.clientsessionid + proof.digest()[:16],
            serversession.constants.payload_types["rakp4"],
            retry=False,
        )
        self.confalgo, self.integrityalgo, self.sequencenumber = "aes", "sha256", 1
        self.sessionid = struct.unpack("<I", self.clientsessionid)[0]

    def close_server_session(self):
        say("logout")


def obey():
    for line in sys.stdin:
        name, value = line.split()
        state[name] = int(value, 0)
        say(f"{name} {state[name]}")
    # Whoever gives the orders is gone.
    os._exit(0)


class Hashes:
    """In place of hashlib in the server, which asks for SHA-1 by name."""

    sha1 = hashlib.sha256


port, user, password, suite = *sys.argv[1:4], int(sys.argv[4])
serversession.ServerSession = Session
if suite == 17:
    serversession.hashlib = Hashes
Bmc({user: password}, port=int(port), address="127.0.0.1")
threading.Thread(target=obey, daemon=True).start()
say("ready")
while True:
    session.Session.wait_for_rsp(1)
