"""Receives what Milepost tells a system: python webhook_receiver.py PORT SECRET (pip install standardwebhooks)."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        event = Webhook(sys.argv[2]).verify(body, dict(self.headers.items()))
        print(event["id"], event["type"], event["subject"], event["data"], flush=True)
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
