"""A hub on the loopback interface: as much of the Hugging Face hub's HTTP API as reading a repository needs.

`HF_ENDPOINT` set to its address makes `datasets`, `transformers` and `huggingface_hub` talk to it.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.+))?"
)
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass(frozen=True)
class Hub:
    """What the server serves and what it was asked."""

    repositories: Mapping[str, Mapping[str, bytes]]
    """Files by path, by ``models/<owner>/<name>`` or ``datasets/<owner>/<name>``."""
    address: str
    requests: list[str] = field(default_factory=list)
    """``METHOD path`` in the order they came."""


@contextmanager
def serve(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """Serve `repositories` until the context ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    hub = Hub(repositories, f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = partial(_Handler, hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *arguments: object) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, body: bytes = b"") -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if found := API.fullmatch(path):
            self._answer_api(found, body)
        elif found := FILE.fullmatch(path):
            self._answer_file(found)
        else:
            self._fail("EntryNotFound")

    def _answer_api(self, asked: re.Match[str], body: bytes) -> None:
        files = self.hub.repositories.get(f"{asked['kind']}/{asked['repo']}")
        if files is None:
            self._fail("RepoNotFound")
            return
        _, _, rest = (asked["rest"] or "").partition("/")
        if asked["what"] == "tree":
            query = dict(parse_qsl(urlsplit(self.path).query))
            entries = _tree(files, rest, is_recursive=query.get("recursive", "").lower() == "true")
            self._send_json(entries) if entries or not rest else self._fail("EntryNotFound")
        elif asked["what"] == "paths-info":
            paths = [value for name, value in parse_qsl(body.decode()) if name == "paths"]
            self._send_json([entry for entry in _everything(files) if entry["path"] in paths])
        else:
            siblings = [{"rfilename": path} for path in files]
            repo = {"id": asked["repo"], "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            self._send_json(repo)

    def _answer_file(self, asked: re.Match[str]) -> None:
        files = self.hub.repositories.get(f"{'datasets' if asked['kind'] else 'models'}/{asked['repo']}")
        if files is None:
            self._fail("RepoNotFound")
        elif asked["revision"] not in ("main", COMMIT):
            self._fail("RevisionNotFound")
        elif asked["path"] not in files:
            self._fail("EntryNotFound")
        else:
            content = files[asked["path"]]
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, end = (int(span[1]), int(span[2] or len(content) - 1) + 1) if span else (0, len(content))
            headers = {"ETag": f'"{_git_id(content)}"', "Accept-Ranges": "bytes"}
            if span:
                headers["Content-Range"] = f"bytes {start}-{min(end, len(content)) - 1}/{len(content)}"
            self._send(206 if span else 200, content[start:end], "application/octet-stream", headers)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), "application/json", {})

    def _fail(self, code: str) -> None:
        self._send(404, b"{}", "application/json", {"X-Error-Code": code})

    def _send(self, status: int, content: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        common = {"Content-Type": kind, "Content-Length": str(len(content)), "X-Repo-Commit": COMMIT}
        for name, value in {**common, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _git_id(content: bytes) -> str:
    """The name git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _everything(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    """Entries of all files and all folders."""
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    folder_entries = [
        {"type": "directory", "path": path, "oid": _git_id(path.encode()), "size": 0} for path in sorted(folders)
    ]
    file_entries = [
        {"type": "file", "path": path, "oid": _git_id(content), "size": len(content)} for path, content in files.items()
    ]
    return [*folder_entries, *file_entries]


def _tree(files: Mapping[str, bytes], folder: str, *, is_recursive: bool) -> list[dict[str, object]]:
    prefix = f"{folder}/" if folder else ""
    below = [entry for entry in _everything(files) if str(entry["path"]).startswith(prefix)]
    return [entry for entry in below if is_recursive or "/" not in str(entry["path"])[len(prefix) :]]
