"""A small web application: greets visitors with the text in its settings file."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SETTINGS = json.loads(Path(sys.argv[1]).read_text())


class Greeter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = SETTINGS["greeting"] + ", world!"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", SETTINGS["port"]), Greeter).serve_forever()
