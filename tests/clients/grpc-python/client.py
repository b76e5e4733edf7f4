"""A gRPC client by grpcio, as shipped, for tests.

    GRPC_XDS_BOOTSTRAP=FILE PYTHONPATH=.tools/grpc-python client.py PORT

GET /?target=xds:///HOST:PORT&calls=N on 127.0.0.1:PORT makes N calls, one after
the other, on the channel of that target, and answers with a JSON list of what
came: the name that an echo backend answered with, else the status code's name.
"""

import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc

DEADLINE_SECONDS = 5
stubs = {}


def stub(target):
    if target not in stubs:
        channel = grpc.insecure_channel(target)
        stubs[target] = channel.unary_unary("/mainstem.test.Echo/Name")
    return stubs[target]


def call(target):
    try:
        return stub(target)(b"", timeout=DEADLINE_SECONDS).decode()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        calls = int(query["calls"][0])
        body = json.dumps([call(query["target"][0]) for _ in range(calls)]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
