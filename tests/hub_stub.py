"""A stand-in for the Hugging Face Hub on the loopback address, with its repositories in memory.

Speaks as much of the Hub's HTTP interface as creating a repository, one commit of files, and
fetching a file take.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubStub(BaseHTTPRequestHandler):
    """Answers from `server.files`; notes each request in `server.requests`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._note()
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created.append(asked)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            self._answer({"url": f"{self.server.url}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.url}/me/my-styles/commit/{COMMIT}"
            self._answer({"commitUrl": url, "commitOid": COMMIT, "hookOutput": "", "success": True})
        else:
            self._answer({"error": "unknown"}, 404)

    def do_GET(self):
        self._note()
        repositories = {"me/my-styles": self.server.files, **self.server.others}
        found = re.fullmatch(r"/(\w+/[\w-]+)/resolve/[^/]+/(.+)", self.path)
        if not found or found[2] not in repositories.get(found[1], {}):
            kind = "EntryNotFound" if found and found[1] in repositories else "RepoNotFound"
            self._answer({"error": kind}, 404, {"X-Error-Code": kind, "X-Repo-Commit": COMMIT})
        else:
            content = repositories[found[1]][found[2]]
            tag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def log_message(self, *args):
        """Say nothing."""

    def _note(self):
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization")))

    def _answer(self, value, status=200, headers=None):
        headers = {"Content-Type": "application/json", **(headers or {})}
        self._send(status, json.dumps(value).encode(), headers)

    def _send(self, status, content, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub_stub():
    """Serve on a free port; yields the server, with `url`, `files` (of me/my-styles),
    `others` (of other repositories), `created` and `requests`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubStub)
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    server.files, server.others, server.created, server.requests = {}, {}, [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
